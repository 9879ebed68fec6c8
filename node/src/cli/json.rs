//! Answers as protobuf JSON: every field shown, camelCase, enum values without their prefix, 64-bit integers as
//! strings, times as RFC 3339 in UTC. A message that is not set is null.

use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use carrel_proto::DESCRIPTORS;
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, EnumDescriptor, Kind, MapKey, ReflectMessage, Value};
use serde_json::{Map, Value as Json, json};

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).expect("the descriptors were made with the types"));

pub(super) fn document<M: Message + Name>(message: &M) -> Json {
    let descriptor = POOL.get_message_by_name(&M::full_name()).expect("every message has a descriptor");
    let bytes = message.encode_to_vec();
    object(&DynamicMessage::decode(descriptor, bytes.as_slice()).expect("it was encoded a line ago"))
}

fn object(message: &DynamicMessage) -> Json {
    let descriptor = message.descriptor();
    if descriptor.full_name().starts_with("google.protobuf.") {
        // Timestamp and Duration have a form of their own, which fails only outside the years 1 to 9999.
        return serde_json::to_value(message).unwrap_or(Json::Null);
    }
    let mut fields = Map::new();
    for field in descriptor.fields() {
        let is_set = message.has_field(&field);
        // The members of a oneof that are not set, and an `optional` that is not: they have no default to show.
        if field.containing_oneof().is_some() && !is_set {
            continue;
        }
        let kind = field.kind();
        let json = match message.get_field(&field).as_ref() {
            Value::List(items) => items.iter().map(|item| single(&kind, item)).collect(),
            Value::Map(entries) => {
                let entry = kind.as_message().map(|entry| entry.map_entry_value_field().kind());
                let entry = entry.expect("a map field is a list of entries");
                entries.iter().map(|(key, item)| (key_text(key), single(&entry, item))).collect::<Map<_, _>>().into()
            }
            Value::Message(_) if !is_set => Json::Null,
            item => single(&kind, item),
        };
        fields.insert(field.json_name().to_owned(), json);
    }
    fields.into()
}

fn single(kind: &Kind, value: &Value) -> Json {
    match value {
        Value::Bool(value) => json!(value),
        Value::I32(value) => json!(value),
        Value::U32(value) => json!(value),
        Value::I64(value) => json!(value.to_string()),
        Value::U64(value) => json!(value.to_string()),
        Value::F32(value) => float(f64::from(*value)),
        Value::F64(value) => float(*value),
        Value::String(value) => json!(value),
        Value::Bytes(value) => json!(BASE64_STANDARD.encode(value)),
        Value::EnumNumber(number) => kind.as_enum().map_or_else(|| json!(number), |of| enumerated(of, *number)),
        Value::Message(value) => object(value),
        Value::List(_) | Value::Map(_) => unreachable!("protobuf has no lists of lists"),
    }
}

fn float(value: f64) -> Json {
    if value.is_finite() {
        json!(value)
    } else if value.is_nan() {
        json!("NaN")
    } else {
        json!(if value > 0.0 { "Infinity" } else { "-Infinity" })
    }
}

/// STATE_CHECKED_IN of State is CHECKED_IN; a number that a newer server sends stays a number.
fn enumerated(of: &EnumDescriptor, number: i32) -> Json {
    match of.get_value(number) {
        Some(value) => {
            let prefix = screaming(of.name()) + "_";
            json!(value.name().strip_prefix(&prefix).unwrap_or(value.name()))
        }
        None => json!(number),
    }
}

/// `InboxKind` as `INBOX_KIND`.
fn screaming(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(letter.to_ascii_uppercase());
    }
    out
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

#[cfg(test)]
mod tests {
    use carrel_proto::{admin, v1};
    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn a_reservation_reads_as_agreed() {
        let reservation = v1::Reservation {
            name: "reservations/17".into(),
            start_time: Some(Timestamp { seconds: 1_700_000_000, nanos: 5_000_000 }),
            state: v1::reservation::State::CheckedIn.into(),
            origin: v1::reservation::Origin::WalkIn.into(),
            revision: 9_007_199_254_740_993,
            ..Default::default()
        };
        let response = v1::CreateReservationResponse { reservation: Some(reservation), commit: None };
        assert_eq!(
            document(&response),
            json!({
                "reservation": {
                    "name": "reservations/17",
                    "seat": "",
                    "user": "",
                    "startTime": "2023-11-14T22:13:20.005Z",
                    "endTime": null,
                    "state": "CHECKED_IN",
                    "deadline": null,
                    "origin": "WALK_IN",
                    "revision": "9007199254740993",
                },
                "commit": null,
            })
        );
    }

    #[test]
    fn defaults_are_shown_and_unset_choices_are_not() {
        let entry = v1::WaitlistEntry {
            target: Some(v1::waitlist_entry::Target::Branch("branches/main".into())),
            ..Default::default()
        };
        let json = document(&entry);
        assert_eq!(json["branch"], "branches/main");
        assert_eq!(json["state"], "UNSPECIFIED");
        assert_eq!(json["amenities"], json!([]));
        assert_eq!(json["accessible"], false);
        assert!(json.get("seat").is_none() && json.get("area").is_none());
        assert_eq!(document(&v1::User { role: v1::Role::Admin.into(), ..Default::default() })["role"], "ADMIN");
        assert_eq!(document(&v1::Seat { x: 1.5, ..Default::default() })["x"], 1.5);
    }

    #[test]
    fn a_value_from_the_future_stays_a_number() {
        assert_eq!(document(&v1::User { role: 77, ..Default::default() })["role"], 77);
    }

    #[test]
    fn optional_numbers_are_shown_only_if_set() {
        let unset = document(&admin::v1::NodeStatus::default());
        assert!(unset.get("matchedIndex").is_none());
        assert_eq!(unset["lastLogIndex"], "0");
        let set = document(&admin::v1::NodeStatus { matched_index: Some(0), ..Default::default() });
        assert_eq!(set["matchedIndex"], "0");
    }
}
