//! What a receiver gets: a CloudEvent 1.0 in JSON, signed as Standard Webhooks has it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use carrel_domain::webhook::{WebhookContent, WebhookEvent, WebhookSecret};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::convert::time::shown;
use crate::convert::{audit, names};

/// As Standard Webhooks writes secrets.
#[must_use]
pub fn secret_text(secret: &WebhookSecret) -> String {
    format!("whsec_{}", STANDARD.encode(secret.0))
}

/// The same bytes whenever it is sent.
#[derive(Debug)]
pub(super) struct Envelope {
    id: String,
    body: Bytes,
}

/// With what proves from whom it is, at this moment.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    pub id: String,
    pub timestamp: String,
    pub signature: String,
    pub body: Bytes,
}

impl Envelope {
    pub fn new(event: &WebhookEvent, cluster: &str, lineage: u32) -> Self {
        let place = format!("{lineage}-{}-{}", event.position.index, event.position.ordinal);
        let (id, kind, subject, data) = match &event.what {
            WebhookContent::Claim { claim, before, after, seat } => {
                let data = json!({
                    "reservation": names::reservation(*claim),
                    "seat": names::seat(&seat.branch, &seat.seat),
                    "start_time": shown(after.interval.start()),
                    "end_time": shown(after.interval.end()),
                    "state": audit::state(after.state),
                    "previous_state": before.map(|before| audit::state(before.state)),
                });
                (place, "dev.carrel.reservation.changed", names::reservation(*claim), data)
            }
            WebhookContent::Wait { wait, before, after } => {
                let data = json!({
                    "waitlist_entry": names::wait(*wait),
                    "state": audit::waiting(*after),
                    "previous_state": before.map(audit::waiting),
                });
                (place, "dev.carrel.waitlist.changed", names::wait(*wait), data)
            }
            WebhookContent::Catalog { revision } => {
                let data = json!({ "revision": revision });
                (place, "dev.carrel.catalog.replaced", "catalog".to_owned(), data)
            }
            // That place may be that of an event that was told.
            WebhookContent::Missed => {
                (format!("missed-{place}"), "dev.carrel.events.missed", "events".to_owned(), Value::Null)
            }
        };
        let body = json!({
            "specversion": "1.0",
            "id": id,
            "source": format!("//carrel.dev/clusters/{cluster}"),
            "type": kind,
            "subject": subject,
            "time": shown(event.at.time),
            "datacontenttype": "application/json",
            "data": data,
        });
        Self { id, body: body.to_string().into() }
    }

    pub fn signed<'a>(self, secrets: impl Iterator<Item = &'a WebhookSecret>) -> Signed {
        let since_1970 = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        let timestamp = since_1970.as_secs().to_string();
        let signatures: Vec<String> =
            secrets.map(|secret| format!("v1,{}", signature(secret, &self.id, &timestamp, &self.body))).collect();
        Signed { id: self.id, timestamp, signature: signatures.join(" "), body: self.body }
    }
}

fn signature(secret: &WebhookSecret, id: &str, timestamp: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret.0).expect("a key of any length will do");
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    STANDARD.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's own libraries.
    #[test]
    fn the_signature_is_the_one_that_everybody_computes() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("base64");
        let mut mac = Hmac::<Sha256>::new_from_slice(&secret).expect("a key");
        mac.update(b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}");
        let known = STANDARD.encode(mac.finalize().into_bytes());
        assert_eq!(known, "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        // Ours are longer: the same computation.
        let ours = WebhookSecret([7; 32]);
        let mut mac = Hmac::<Sha256>::new_from_slice(&[7; 32]).expect("a key");
        mac.update(b"1-2-0.1614265330.{}");
        assert_eq!(signature(&ours, "1-2-0", "1614265330", b"{}"), STANDARD.encode(mac.finalize().into_bytes()));
        assert_eq!(secret_text(&ours), format!("whsec_{}", STANDARD.encode([7; 32])));
    }
}
