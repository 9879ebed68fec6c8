//! What a browser shows that opens the address of a node: the page of `node/web/`; and the library at a glance, for
//! browsers without scripts.

pub mod app;
mod html;

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use carrel_domain::query::{AreaView, BranchView};
use carrel_domain::state::State;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};

use html::Html;

pub const GLANCE_PATH: &str = "/glance";
pub const STYLE_PATH: &str = "/glance.css";
const STYLE: &str = include_str!("glance.css");

/// Nothing is run, nothing is loaded but our own style sheet, and nobody puts the page into a frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// The cluster as this node knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// None: no leader is known.
    pub leader: Option<u64>,
    pub nodes: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub id: u64,
    /// "http://127.0.0.1:7400"
    pub endpoint: String,
    pub role: &'static str,
    pub is_reachable: bool,
}

/// Asked once for each page.
pub type ClusterSource = Arc<dyn Fn() -> Cluster + Send + Sync>;

/// Branches, what is free in them now, and who serves them.
#[must_use]
pub fn glance(state: &State, cluster: &Cluster) -> Response {
    let mut page = Html::begin("Carrel");
    page.raw("<header><h1>Carrel</h1><p>Study seats, and who sits where and when.</p></header>\n<main>\n");
    branches(&mut page, &state.branches());
    first_booking(&mut page);
    nodes(&mut page, cluster);
    page.raw("</main>\n");
    answer(StatusCode::OK, page)
}

#[must_use]
pub fn not_found() -> Response {
    let mut page = Html::begin("Not found · Carrel");
    page.raw(
        "<main><h1>There is no such page</h1><p>All that there is begins at <a href=\"/\">the first</a>.</p></main>\n",
    );
    answer(StatusCode::NOT_FOUND, page)
}

pub async fn style() -> Response {
    let headers = [
        (CONTENT_TYPE, "text/css; charset=utf-8"),
        (CACHE_CONTROL, "max-age=300"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, STYLE).into_response()
}

fn branches(page: &mut Html, branches: &[BranchView]) {
    page.raw("<section><h2>Free now</h2>\n");
    if branches.is_empty() {
        page.raw(
            "<p>There is no catalogue yet. An admin imports one with <code>carrel catalog import FILE</code>.</p>\n",
        );
    }
    for branch in branches {
        let free: u32 = branch.areas.iter().map(|area| area.available_count).sum();
        let all: u32 = branch.areas.iter().map(|area| area.seat_count).sum();
        page.raw("<details><summary><span class=\"name\">").text(branch.title.as_str());
        page.raw("</span> <span class=\"id\">").text(branch.slug.as_str());
        let is_open = branch.areas.iter().any(|area| area.is_open);
        let count = if is_open { format!("{free} of {all} seats") } else { "closed".to_owned() };
        page.raw("</span> <span class=\"count\">").text(&count).raw("</span></summary>\n");
        page.raw("<p class=\"zone\">Times in ").text(branch.time_zone.as_str()).raw("</p>\n");
        page.raw("<table><thead><tr><th scope=\"col\">Area</th><th scope=\"col\">Id</th><th scope=\"col\">Now</th>");
        page.raw("<th scope=\"col\" class=\"number\">Free</th><th scope=\"col\" class=\"number\">Seats</th></tr></thead><tbody>\n");
        branch.areas.iter().for_each(|view| area(page, view));
        page.raw("</tbody></table></details>\n");
    }
    page.raw("</section>\n");
}

fn area(page: &mut Html, area: &AreaView) {
    page.raw("<tr><th scope=\"row\">").text(area.title.as_str()).raw("</th><td>").text(area.slug.as_str());
    page.raw("</td><td>").text(if area.is_open { "open" } else { "closed" });
    page.raw("</td><td class=\"number\">").text(&area.available_count.to_string());
    page.raw("</td><td class=\"number\">").text(&area.seat_count.to_string()).raw("</td></tr>\n");
}

fn first_booking(page: &mut Html) {
    page.raw("<section><h2>Book a seat</h2>\n<pre><code>");
    page.text(
        "echo 'a good password' | carrel register amy --password-stdin\n\
         echo 'a good password' | carrel login amy --password-stdin\n\
         carrel seats search --branch BRANCH --available\n\
         carrel reserve BRANCH/SEAT --from 14:00 --to 16:00\n\
         carrel check-in RESERVATION\n",
    );
    page.raw("</code></pre></section>\n");
}

fn nodes(page: &mut Html, cluster: &Cluster) {
    page.raw("<section><h2>Nodes</h2>\n");
    if cluster.leader.is_none() {
        page.raw("<p>No leader is known: seats can be looked at, not booked.</p>\n");
    }
    page.raw("<table><thead><tr><th scope=\"col\">Node</th><th scope=\"col\">Address</th><th scope=\"col\">Role</th>");
    page.raw("<th scope=\"col\">Reachable</th></tr></thead><tbody>\n");
    for node in &cluster.nodes {
        page.raw("<tr><th scope=\"row\">").text(&node.id.to_string()).raw("</th><td>").text(&node.endpoint);
        page.raw("</td><td>").text(if cluster.leader == Some(node.id) { "leader" } else { node.role });
        page.raw("</td><td>").text(if node.is_reachable { "yes" } else { "no" }).raw("</td></tr>\n");
    }
    page.raw("</tbody></table></section>\n");
}

fn answer(status: StatusCode, page: Html) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ];
    (status, headers, page.end()).into_response()
}
