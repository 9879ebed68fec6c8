//! What a dashboard is, and Grafana's JSON of it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// In the place of the labels by which a panel chooses its nodes, and operators.
pub const NODES: &str = "NODES";
pub const OPERATORS: &str = "OPERATORS";

pub struct Board {
    pub id: &'static str,
    pub title: &'static str,
    /// What it answers.
    pub question: &'static str,
    pub panels: Vec<Panel>,
}

pub struct Panel {
    pub title: &'static str,
    pub meaning: &'static str,
    pub shape: Shape,
    pub unit: Unit,
    /// Out of 24 columns.
    pub width: u32,
    /// Expressions, and how their series are called.
    pub queries: Vec<(&'static str, &'static str)>,
    /// From which value on it is orange, and red.
    pub thresholds: Option<(f64, f64)>,
    /// The page that says what to do.
    pub runbook: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Shape {
    /// Who is what, over time: 1 and 0 with these words.
    Timeline(&'static str, &'static str),
    Lines,
    /// Lines on top of each other.
    Stacked,
    Number,
    Table,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Unit {
    Count,
    PerSecond,
    Seconds,
    Bytes,
    BytesPerSecond,
    /// Of one.
    Share,
    Moment,
}

impl Unit {
    const fn grafana(self) -> &'static str {
        match self {
            Self::Count => "short",
            Self::PerSecond => "ops",
            Self::Seconds => "s",
            Self::Bytes => "bytes",
            Self::BytesPerSecond => "Bps",
            Self::Share => "percentunit",
            Self::Moment => "dateTimeFromNow",
        }
    }
}

pub fn panel(
    title: &'static str,
    unit: Unit,
    meaning: &'static str,
    queries: &[(&'static str, &'static str)],
) -> Panel {
    let queries = queries.to_vec();
    Panel { title, meaning, shape: Shape::Lines, unit, width: 8, queries, thresholds: None, runbook: None }
}

impl Panel {
    pub fn shaped(self, shape: Shape) -> Self {
        Self { shape, ..self }
    }

    pub fn wide(self, width: u32) -> Self {
        Self { width, ..self }
    }

    pub fn warns(self, orange: f64, red: f64) -> Self {
        Self { thresholds: Some((orange, red)), ..self }
    }

    pub fn runbook(self, page: &'static str) -> Self {
        Self { runbook: Some(page), ..self }
    }
}

/// An expression for nodes with these labels, and for operators with those.
pub fn filled(expression: &str, nodes: &str, operators: &str) -> String {
    expression.replace(OPERATORS, operators).replace(NODES, nodes)
}

pub const RUNBOOKS: &str = "https://carrel.dev/docs/runbooks";

const DATA_SOURCE: &str = "${datasource}";
const IN_GRAFANA: &str = r#"namespace=~"$namespace",carrel_cluster=~"$cluster""#;
const OPERATORS_IN_GRAFANA: &str = r#"namespace=~"$namespace""#;
const COLUMNS: u32 = 24;

impl Board {
    pub fn json(&self) -> Value {
        let (mut x, mut y, mut row_height) = (0, 0, 0);
        let mut panels = Vec::new();
        for (index, panel) in self.panels.iter().enumerate() {
            let height = if panel.shape == Shape::Number { 4 } else { 8 };
            if x + panel.width > COLUMNS {
                (x, y, row_height) = (0, y + row_height, 0);
            }
            row_height = row_height.max(height);
            let place = json!({ "x": x, "y": y, "w": panel.width, "h": height });
            panels.push(panel.json(index + 1, &place));
            x += panel.width;
        }
        sorted(json!({
            "uid": format!("carrel-{}", self.id),
            "title": format!("Carrel / {}", self.title),
            "description": self.question,
            "tags": ["carrel"],
            "schemaVersion": 39,
            "editable": false,
            "graphTooltip": 1,
            "refresh": "10s",
            "time": { "from": "now-1h", "to": "now" },
            "templating": { "list": [
                { "name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus" },
                variable("namespace", "Namespace", "label_values({__name__=~\"carrel_node_info|carrel_operator_is_leader\"}, namespace)"),
                variable("cluster", "Cluster", "label_values(carrel_node_info{namespace=~\"$namespace\"}, carrel_cluster)"),
            ] },
            "links": [
                { "type": "dashboards", "title": "Carrel", "tags": ["carrel"], "keepTime": true, "includeVars": true },
                { "type": "link", "title": "Runbooks", "url": RUNBOOKS, "targetBlank": true },
            ],
            "panels": panels,
        }))
    }
}

/// With its keys in order, however the JSON of this build keeps them.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let in_order: BTreeMap<String, Value> = members.into_iter().collect();
            Value::Object(in_order.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(sorted).collect()),
        other => other,
    }
}

fn variable(name: &str, label: &str, query: &str) -> Value {
    json!({
        "name": name, "label": label, "type": "query", "query": query, "refresh": 2, "multi": true, "includeAll": true,
        // Also what has no such label, where nobody gives it one.
        "allValue": ".*",
        "current": { "text": "All", "value": "$__all" },
        "datasource": { "type": "prometheus", "uid": DATA_SOURCE },
    })
}

impl Panel {
    fn json(&self, id: usize, place: &Value) -> Value {
        let kind = match self.shape {
            Shape::Timeline(..) => "state-timeline",
            Shape::Lines | Shape::Stacked => "timeseries",
            Shape::Number => "stat",
            Shape::Table => "table",
        };
        let at_once = matches!(self.shape, Shape::Number | Shape::Table);
        let targets: Vec<Value> = (b'A'..)
            .zip(&self.queries)
            .map(|(letter, (expression, legend))| {
                json!({
                    "refId": char::from(letter).to_string(),
                    "expr": filled(expression, IN_GRAFANA, OPERATORS_IN_GRAFANA),
                    "legendFormat": legend,
                    "instant": at_once,
                    "range": !at_once,
                    "format": if self.shape == Shape::Table { "table" } else { "time_series" },
                    "datasource": { "type": "prometheus", "uid": DATA_SOURCE },
                })
            })
            .collect();
        let mut defaults = json!({ "unit": self.unit.grafana(), "custom": {}, "mappings": [] });
        if let Some((orange, red)) = self.thresholds {
            let colours = if orange <= red { ["green", "orange", "red"] } else { ["red", "orange", "green"] };
            let steps = [Value::Null, json!(orange.min(red)), json!(orange.max(red))];
            let steps: Vec<Value> =
                colours.iter().zip(steps).map(|(colour, value)| json!({ "color": colour, "value": value })).collect();
            defaults["thresholds"] = json!({ "mode": "absolute", "steps": steps });
            defaults["custom"]["thresholdsStyle"] = json!({ "mode": "dashed" });
        }
        match self.shape {
            Shape::Timeline(yes, no) => {
                defaults["custom"]["fillOpacity"] = json!(80);
                defaults["mappings"] = json!([{ "type": "value", "options": {
                    "1": { "text": yes, "color": "green", "index": 0 },
                    "0": { "text": no, "color": "text", "index": 1 },
                } }]);
            }
            Shape::Stacked => {
                defaults["custom"]["fillOpacity"] = json!(40);
                defaults["custom"]["stacking"] = json!({ "mode": "normal" });
                defaults["min"] = json!(0);
            }
            Shape::Lines => defaults["custom"]["fillOpacity"] = json!(8),
            Shape::Number | Shape::Table => {}
        }
        let links: Vec<Value> = self
            .runbook
            .iter()
            .map(|page| json!({ "title": "Runbook", "url": format!("{RUNBOOKS}/{page}.md"), "targetBlank": true }))
            .collect();
        json!({
            "id": id,
            "type": kind,
            "title": self.title,
            "description": self.meaning,
            "gridPos": place,
            "datasource": { "type": "prometheus", "uid": DATA_SOURCE },
            "targets": targets,
            "fieldConfig": { "defaults": defaults, "overrides": [] },
            "options": options(self.shape),
            "links": links,
        })
    }
}

fn options(shape: Shape) -> Value {
    match shape {
        Shape::Timeline(..) => json!({ "mergeValues": true, "showValue": "auto", "rowHeight": 0.9 }),
        Shape::Lines | Shape::Stacked => json!({
            "legend": { "displayMode": "list", "placement": "bottom" },
            "tooltip": { "mode": "multi", "sort": "desc" },
        }),
        Shape::Number => json!({ "colorMode": "background", "reduceOptions": { "calcs": ["lastNotNull"] } }),
        Shape::Table => json!({ "showHeader": true }),
    }
}
