//! An API server in memory: objects with versions, server-side apply with managers, preconditions, watches. It knows no
//! types; what it refuses is what the real one refuses of the calls an operator makes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::crash::Crash;

type Answered = UnsyncBoxBody<Bytes, kube::Error>;

/// Resource, namespace, name.
pub type Key = (String, String, String);

#[derive(Clone, Default)]
pub struct ApiServer {
    state: Arc<Mutex<State>>,
    pub crash: Crash,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Key, Value>,
    /// What each manager applied last.
    applied: BTreeMap<(Key, String), Value>,
    version: u64,
    calls: Vec<Call>,
    watches: Vec<(String, mpsc::UnboundedSender<Value>)>,
    /// Called before a deletion that somebody asked for.
    deletions: Vec<Key>,
}

/// What was asked, without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub verb: String,
    pub resource: String,
    pub subresource: String,
    pub name: String,
}

/// A path, taken apart.
struct Target {
    resource: String,
    namespace: Option<String>,
    name: Option<String>,
    subresource: String,
}

type Answer = Result<Value, (u16, &'static str, String)>;

impl ApiServer {
    pub fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { server.serve(request).await }
        });
        Client::new(service, "library")
    }

    async fn serve(&self, request: Request<Body>) -> Result<Response<Answered>, kube::Error> {
        let (head, body) = request.into_parts();
        let body: Value = serde_json::from_slice(&body.collect_bytes().await?).unwrap_or_default();
        let query = head.uri.query().unwrap_or_default().to_owned();
        let target = target(head.uri.path());
        if query.contains("watch=true") {
            return Ok(self.watch(&target.resource));
        }
        let before = self.lock().version;
        let content = head.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let answer = self.answer(&head.method, &target, &query, content, body);
        // An event tells, and changes nothing.
        if self.lock().version != before && target.resource != "events" {
            self.crash.took_effect().await;
        }
        let (code, body) = match answer {
            Ok(value) => (200, value),
            Err((code, reason, message)) => {
                let body = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": message, "reason": reason, "code": code });
                (code, body)
            }
        };
        let body = Full::new(Bytes::from(serde_json::to_vec(&body).expect("plain data")));
        let body = Answered::new(body.map_err(|never| match never {}));
        Ok(Response::builder().status(code).body(body).expect("a response"))
    }

    fn answer(&self, method: &Method, target: &Target, query: &str, content: &str, body: Value) -> Answer {
        let mut state = self.lock();
        let name = target.name.clone().or_else(|| body["metadata"]["name"].as_str().map(str::to_owned));
        let verb = if content.contains("apply-patch") { "APPLY" } else { method.as_str() };
        state.calls.push(Call {
            verb: verb.to_owned(),
            resource: target.resource.clone(),
            subresource: target.subresource.clone(),
            name: name.clone().unwrap_or_default(),
        });
        let namespace = target.namespace.clone().unwrap_or_default();
        let key = (target.resource.clone(), namespace.clone(), name.clone().unwrap_or_default());
        let manager = parameter(query, "fieldManager").unwrap_or_default();
        match (method.as_str(), &target.name) {
            ("GET", Some(_)) => state.get(&key),
            ("GET", None) => Ok(state.list(&target.resource, target.namespace.as_deref(), query)),
            ("POST", _) => state.create(key, body),
            ("PATCH", _) if verb == "APPLY" => state.apply(key, &manager, &target.subresource, body),
            ("PATCH", _) => state.merge(&key, &target.subresource, &body),
            ("PUT", _) => state.replace(&key, body),
            ("DELETE", _) => state.delete(&key, &body),
            _ => Err((405, "MethodNotAllowed", format!("{method} {query}"))),
        }
    }

    fn watch(&self, resource: &str) -> Response<Answered> {
        let (send, receive) = mpsc::unbounded_channel();
        self.lock().watches.push((resource.to_owned(), send));
        let lines = stream::unfold(receive, |mut receive| async move {
            let event: Value = receive.recv().await?;
            let line = Bytes::from(format!("{event}\n"));
            Some((Ok::<_, kube::Error>(http_body::Frame::data(line)), receive))
        });
        Response::new(Answered::new(StreamBody::new(lines)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics in here")
    }

    /// The calls since the last time.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.lock().calls)
    }

    /// Deletions that were asked for since the last time.
    pub fn take_deletions(&self) -> Vec<Key> {
        std::mem::take(&mut self.lock().deletions)
    }

    // What controllers, kubelets and people do, past the front door.

    pub fn read(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        self.lock().objects.get(&(resource.to_owned(), namespace.to_owned(), name.to_owned())).cloned()
    }

    pub fn all(&self, resource: &str) -> Vec<Value> {
        let state = self.lock();
        state.objects.iter().filter(|((kind, ..), _)| kind == resource).map(|(_, object)| object.clone()).collect()
    }

    /// Makes it, or changes it; nothing happens if it is so already.
    pub fn put(&self, resource: &str, object: Value) {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let key = (resource.to_owned(), text("namespace"), text("name"));
        self.lock().store(key, object);
    }

    pub fn remove(&self, resource: &str, namespace: &str, name: &str) {
        self.lock().drop_object(&(resource.to_owned(), namespace.to_owned(), name.to_owned()));
    }
}

impl State {
    fn get(&self, key: &Key) -> Answer {
        self.objects.get(key).cloned().ok_or_else(|| not_found(key))
    }

    fn list(&self, resource: &str, namespace: Option<&str>, query: &str) -> Value {
        let selector = parameter(query, "labelSelector").unwrap_or_default();
        let fits = |object: &Value| {
            selector.split(',').filter(|part| !part.is_empty()).all(|part| {
                let labels = &object["metadata"]["labels"];
                match part.split_once('=') {
                    Some((label, value)) => labels[label] == value,
                    None => !labels[part].is_null(),
                }
            })
        };
        let items: Vec<&Value> = self
            .objects
            .iter()
            .filter(|((kind, at, _), _)| kind == resource && namespace.is_none_or(|wanted| wanted == at))
            .map(|(_, object)| object)
            .filter(|object| fits(object))
            .collect();
        let (version, kind) = items.first().map_or((json!("v1"), json!("List")), |first| {
            (first["apiVersion"].clone(), json!(format!("{}List", first["kind"].as_str().unwrap_or_default())))
        });
        json!({ "apiVersion": version, "kind": kind, "metadata": { "resourceVersion": self.version.to_string() },
            "items": items })
    }

    fn create(&mut self, key: Key, object: Value) -> Answer {
        if self.objects.contains_key(&key) {
            return Err((409, "AlreadyExists", format!("{} {:?} already exists", key.0, key.2)));
        }
        Ok(self.store(key, object))
    }

    fn apply(&mut self, key: Key, manager: &str, subresource: &str, mut wanted: Value) -> Answer {
        let current = self.objects.get(&key).cloned();
        let metadata = wanted["metadata"].as_object_mut().expect("an applied object has metadata");
        let (version, uid) = (metadata.remove("resourceVersion"), metadata.remove("uid"));
        match &current {
            Some(current) => {
                for (field, expected) in [("resourceVersion", version), ("uid", uid)] {
                    if expected.is_some_and(|expected| expected != current["metadata"][field]) {
                        return Err((409, "Conflict", format!("{} {:?}: the object has been modified", key.0, key.2)));
                    }
                }
            }
            None if subresource == "status" => return Err(not_found(&key)),
            // A version is held against what is there alone.
            None if uid.is_some() => {
                return Err((409, "Conflict", format!("{} {:?} is gone", key.0, key.2)));
            }
            None => {}
        }
        let mut object = current.unwrap_or_else(|| json!({}));
        let owner = (key.clone(), format!("{manager}/{subresource}"));
        if let Some(before) = self.applied.get(&owner) {
            withdraw(&mut object, before, &wanted);
            for (_, other) in self.applied.iter().filter(|((at, by), _)| *at == key && *by != owner.1) {
                put_back(&mut object, other);
            }
        }
        lay_over(&mut object, &wanted);
        self.applied.insert(owner, wanted);
        Ok(self.store(key, object))
    }

    fn merge(&mut self, key: &Key, subresource: &str, patch: &Value) -> Answer {
        let mut object = self.objects.get(key).cloned().ok_or_else(|| not_found(key))?;
        if !patch["metadata"]["uid"].is_null() && patch["metadata"]["uid"] != object["metadata"]["uid"] {
            return Err((409, "Conflict", "uid mismatch".to_owned()));
        }
        let status = object["status"].clone();
        merge(&mut object, patch);
        if subresource != "status" && !status.is_null() {
            object["status"] = status;
        }
        Ok(self.store(key.clone(), object))
    }

    fn replace(&mut self, key: &Key, object: Value) -> Answer {
        let current = self.objects.get(key).ok_or_else(|| not_found(key))?;
        if object["metadata"]["resourceVersion"] != current["metadata"]["resourceVersion"] {
            return Err((409, "Conflict", "the object has been modified".to_owned()));
        }
        Ok(self.store(key.clone(), object))
    }

    fn delete(&mut self, key: &Key, options: &Value) -> Answer {
        let object = self.objects.get(key).cloned().ok_or_else(|| not_found(key))?;
        let expected = &options["preconditions"]["uid"];
        if !expected.is_null() && *expected != object["metadata"]["uid"] {
            return Err((
                409,
                "Conflict",
                format!("the UID in the precondition ({expected}) is not that of {:?}", key.2),
            ));
        }
        self.deletions.push(key.clone());
        if key.0 == "persistentvolumeclaims" {
            // Protected while its pod is there: the storage controller removes it.
            let mut object = object.clone();
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            self.store(key.clone(), object);
        } else {
            self.drop_object(key);
        }
        Ok(object)
    }

    /// The version moves with every change, the generation with every change of what is asked for.
    fn store(&mut self, key: Key, mut object: Value) -> Value {
        let before = self.objects.get(&key);
        let mut bare = object.clone();
        if let (Some(before), Some(metadata)) = (before, bare["metadata"].as_object_mut()) {
            for field in ["uid", "resourceVersion", "generation"] {
                metadata.insert(field.to_owned(), before["metadata"][field].clone());
            }
        }
        if before == Some(&bare) {
            return bare;
        }
        self.version += 1;
        let uid = before.map_or_else(|| json!(uuid::Uuid::new_v4().to_string()), |old| old["metadata"]["uid"].clone());
        let generation = match before {
            Some(old) if old["spec"] == object["spec"] => old["metadata"]["generation"].clone(),
            Some(old) => json!(old["metadata"]["generation"].as_i64().unwrap_or(0) + 1),
            None => json!(1),
        };
        if key.0 == "statefulsets" && object["spec"]["replicas"].is_null() {
            object["spec"]["replicas"] = json!(1);
        }
        let metadata = object["metadata"].as_object_mut().expect("an object has metadata");
        metadata.insert("uid".to_owned(), uid);
        metadata.insert("generation".to_owned(), generation);
        metadata.insert("resourceVersion".to_owned(), json!(self.version.to_string()));
        metadata.insert("namespace".to_owned(), json!(key.1));
        let event = if before.is_some() { "MODIFIED" } else { "ADDED" };
        self.tell(&key.0, event, &object);
        self.objects.insert(key, object.clone());
        object
    }

    fn drop_object(&mut self, key: &Key) {
        if let Some(object) = self.objects.remove(key) {
            self.version += 1;
            self.applied.retain(|(at, _), _| at != key);
            self.tell(&key.0, "DELETED", &object);
        }
    }

    fn tell(&mut self, resource: &str, event: &str, object: &Value) {
        let line = json!({ "type": event, "object": object });
        self.watches.retain(|(watched, send)| watched != resource || send.send(line.clone()).is_ok());
    }
}

fn not_found((resource, _, name): &Key) -> (u16, &'static str, String) {
    (404, "NotFound", format!("{resource} {name:?} not found"))
}

fn target(path: &str) -> Target {
    let mut parts = path.trim_matches('/').split('/');
    let skipped = if parts.next() == Some("api") { 1 } else { 2 };
    let rest: Vec<&str> = parts.skip(skipped).collect();
    let (namespace, rest) = match rest.as_slice() {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest.to_vec()),
        rest => (None, rest.to_vec()),
    };
    let part = |index: usize| rest.get(index).map(|part| (*part).to_owned());
    Target { resource: part(0).unwrap_or_default(), namespace, name: part(1), subresource: part(2).unwrap_or_default() }
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let pair = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")))?;
    Some(pair.replace("%3D", "=").replace("%2F", "/").replace("%2C", ",").replace("%2f", "/"))
}

/// What another manager says, too, stays.
fn put_back(object: &mut Value, other: &Value) {
    let (Some(object), Some(other)) = (object.as_object_mut(), other.as_object()) else { return };
    for (field, value) in other {
        match object.get_mut(field) {
            Some(inner) => put_back(inner, value),
            None => {
                object.insert(field.clone(), value.clone());
            }
        }
    }
}

/// What a manager does not say any more goes.
fn withdraw(object: &mut Value, before: &Value, wanted: &Value) {
    let (Some(object), Some(before)) = (object.as_object_mut(), before.as_object()) else { return };
    for (field, old) in before {
        match wanted.get(field) {
            None => {
                object.remove(field);
            }
            Some(new) => {
                if let Some(inner) = object.get_mut(field) {
                    withdraw(inner, old, new);
                }
            }
        }
    }
}

fn lay_over(object: &mut Value, wanted: &Value) {
    match (object, wanted) {
        (Value::Object(object), Value::Object(wanted)) => {
            for (field, value) in wanted {
                lay_over(object.entry(field).or_insert(Value::Null), value);
            }
        }
        (object, wanted) => *object = wanted.clone(),
    }
}

/// RFC 7396.
fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    let object = object.as_object_mut().expect("it is one now");
    for (field, value) in patch {
        if value.is_null() {
            object.remove(field);
        } else {
            merge(object.entry(field).or_insert(Value::Null), value);
        }
    }
}
