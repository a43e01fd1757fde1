//! Calls the official Rust client as told on standard input, a JSON object a line; see ../../drivers.py.

use std::io::{self, BufRead, Write};

use onesignal_rust_api::apis::configuration::Configuration;
use onesignal_rust_api::apis::{default_api as api, Error};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{json, Value};

/// What Cargo.toml asks for, and nothing else.
const VERSION: &str = "5.18.0";

#[derive(Deserialize)]
struct Call {
    host: String,
    key: Option<String>,
    operation: String,
    path: Vec<String>,
    body: Value,
}

fn answered<T: Serialize, E>(result: Result<T, Error<E>>) -> Value {
    match result {
        Ok(answer) => json!({ "answer": answer }),
        Err(error) => {
            let (kind, status, text) = match &error {
                Error::Reqwest(inner) => ("Reqwest", None, inner.to_string()),
                Error::Serde(inner) => ("Serde", None, inner.to_string()),
                Error::Io(inner) => ("Io", None, inner.to_string()),
                Error::ResponseError(answer) => {
                    ("ResponseError", Some(answer.status.as_u16()), String::new())
                }
            };
            let messages = match status {
                Some(_) => error.error_messages(),
                None => vec![text],
            };
            json!({ "raised": kind, "status": status, "messages": messages })
        }
    }
}

/// The client's own type with the fields of the body; a program would not compile without it.
fn typed<T: DeserializeOwned>(body: Value) -> Result<T, Value> {
    serde_json::from_value(body).map_err(
        |error| json!({ "raised": "not typed", "status": null, "messages": [error.to_string()] }),
    )
}

async fn called(call: Call) -> Result<Value, Value> {
    let to = Configuration {
        base_path: call.host,
        rest_api_key_token: call.key,
        ..Default::default()
    };
    let body = call.body;
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    Ok(match (call.operation.as_str(), path.as_slice()) {
        ("create_user", [app]) => answered(api::create_user(&to, app, typed(body)?).await),
        ("get_user", [app, label, name]) => answered(api::get_user(&to, app, label, name).await),
        ("update_user", [app, label, name]) => {
            answered(api::update_user(&to, app, label, name, typed(body)?).await)
        }
        ("delete_user", [app, label, name]) => {
            answered(api::delete_user(&to, app, label, name).await)
        }
        ("create_alias", [app, label, name]) => {
            answered(api::create_alias(&to, app, label, name, typed(body)?).await)
        }
        ("get_aliases", [app, label, name]) => {
            answered(api::get_aliases(&to, app, label, name).await)
        }
        ("delete_alias", [app, label, name, gone]) => {
            answered(api::delete_alias(&to, app, label, name, gone).await)
        }
        ("create_alias_by_subscription", [app, id]) => {
            answered(api::create_alias_by_subscription(&to, app, id, typed(body)?).await)
        }
        ("get_aliases_by_subscription", [app, id]) => {
            answered(api::get_aliases_by_subscription(&to, app, id).await)
        }
        ("create_subscription", [app, label, name]) => {
            answered(api::create_subscription(&to, app, label, name, typed(body)?).await)
        }
        ("update_subscription", [app, id]) => {
            answered(api::update_subscription(&to, app, id, typed(body)?).await)
        }
        ("delete_subscription", [app, id]) => answered(api::delete_subscription(&to, app, id).await),
        ("transfer_subscription", [app, id]) => {
            answered(api::transfer_subscription(&to, app, id, typed(body)?).await)
        }
        ("update_subscription_by_token", [app, type_, token]) => {
            answered(api::update_subscription_by_token(&to, app, type_, token, typed(body)?).await)
        }
        (unknown, _) => panic!("no operation {unknown} with {} parts", path.len()),
    })
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("{}", json!({ "version": VERSION, "on": env!("BUILT_WITH") }));
    for line in io::stdin().lock().lines() {
        let call = serde_json::from_str(&line.unwrap()).unwrap();
        let came = runtime.block_on(called(call)).unwrap_or_else(|refused| refused);
        println!("{came}");
        io::stdout().flush().unwrap();
    }
}
