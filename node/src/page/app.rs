//! The files of the page, out of the binary: each in the form that the browser takes, and kept by it for as long as its
//! name stays, which has a hash of what is in it.

use axum::response::{IntoResponse, Response};
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Method};

use crate::page::not_found;

/// What it is made of comes from this node, and nothing of it stands in its own text; it talks to this node alone.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// The one file whose name stays: asked for anew each time, and small.
const INDEX: &str = "index.html";
/// Views that have an address of their own: the page itself knows what to show there.
const VIEWS: [&str; 9] = ["", "seats", "day", "inbox", "messages", "staff", "account", "kiosk", "cluster"];

struct File {
    /// Below `web/dist`.
    path: &'static str,
    plain: &'static [u8],
    gzip: Option<&'static [u8]>,
    brotli: Option<&'static [u8]>,
}

const FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/page_files.rs"));

/// What is at a path.
#[must_use]
pub fn answer(method: &Method, path: &str, headers: &HeaderMap) -> Response {
    let path = path.trim_start_matches('/');
    let view = path.split('/').next().unwrap_or_default();
    let name = if VIEWS.contains(&view) { INDEX } else { path };
    match FILES.iter().find(|file| file.path == name) {
        Some(file) if matches!(*method, Method::GET | Method::HEAD) => file.answer(headers),
        Some(_) | None => not_found(),
    }
}

impl File {
    fn answer(&self, headers: &HeaderMap) -> Response {
        let (encoding, bytes) = match (self.brotli, self.gzip) {
            (Some(bytes), _) if takes(headers, "br") => (Some("br"), bytes),
            (_, Some(bytes)) if takes(headers, "gzip") => (Some("gzip"), bytes),
            _ => (None, self.plain),
        };
        let lasts = self.path.starts_with("assets/");
        let cache = if lasts { "public, max-age=31536000, immutable" } else { "no-cache" };
        let always = [
            (CONTENT_TYPE, self.kind()),
            (CACHE_CONTROL, cache),
            (VARY, "accept-encoding"),
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
        ];
        (always, encoding.map(|encoding| [(CONTENT_ENCODING, encoding)]), bytes).into_response()
    }

    fn kind(&self) -> &'static str {
        match self.path.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("woff2") => "font/woff2",
            Some("svg") => "image/svg+xml",
            Some("webmanifest") => "application/manifest+json",
            Some(_) | None => "application/octet-stream",
        }
    }
}

/// Whether a browser says that it takes this encoding; no browser takes one for the better and calls it worthless.
fn takes(headers: &HeaderMap, encoding: &str) -> bool {
    headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(','))
        .any(|one| {
            let (name, weight) = one.split_once(';').unwrap_or((one, ""));
            name.trim() == encoding && !matches!(weight.trim(), "q=0" | "q=0.0")
        })
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, StatusCode};

    use super::*;

    fn get(path: &str, accept: &'static str) -> Response {
        let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(accept))]);
        answer(&Method::GET, path, &headers)
    }

    fn header<'a>(response: &'a Response, name: &str) -> &'a str {
        response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
    }

    #[test]
    fn every_view_is_the_same_page_and_nothing_else_is_one() {
        for view in ["/", "/seats", "/day", "/kiosk/lindenhof/a-001", "/cluster"] {
            let response = get(view, "");
            assert_eq!(response.status(), StatusCode::OK, "{view}");
            assert_eq!(header(&response, "content-type"), "text/html; charset=utf-8");
            assert_eq!(header(&response, "cache-control"), "no-cache");
            let policy = header(&response, "content-security-policy");
            assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        }
        for nothing in ["/nowhere", "/assets/none.js", "/sources.sha256", "/../Cargo.toml", "/index.html.br"] {
            assert_eq!(get(nothing, "").status(), StatusCode::NOT_FOUND, "{nothing}");
        }
        let posted = answer(&Method::POST, "/day", &HeaderMap::new());
        assert_eq!(posted.status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn what_is_named_by_its_contents_is_kept_for_good_and_sent_small() {
        let scripts = FILES.iter().filter(|file| file.path.ends_with(".js"));
        for file in scripts {
            let path = format!("/{}", file.path);
            for (accept, encoding) in
                [("gzip, deflate, br", "br"), ("gzip;q=0.8", "gzip"), ("br;q=0", ""), ("identity", "")]
            {
                let response = get(&path, accept);
                assert_eq!(header(&response, "content-encoding"), encoding, "{path} for {accept}");
                assert_eq!(header(&response, "vary"), "accept-encoding");
                assert!(header(&response, "cache-control").contains("immutable"));
            }
        }
        assert!(FILES.iter().any(|file| file.path.ends_with(".js")), "the page has scripts");
    }
}
