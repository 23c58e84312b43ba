//! A caller of Parvis' own API, for the command line and the demonstration. Plain HTTP: the daemon is near.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client as Connections, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

/// Calls one daemon with one key.
#[derive(Clone, Debug)]
pub struct Client {
    connections: Connections<HttpConnector, Full<Bytes>>,
    base: String,
    key: String,
}

impl Client {
    /// A client of the daemon at `base`, such as `http://127.0.0.1:8080`.
    pub fn new(base: impl Into<String>, key: impl Into<String>) -> Client {
        let connections = Connections::builder(TokioExecutor::new()).build_http();
        Client { connections, base: base.into(), key: key.into() }
    }

    /// Sends JSON and gives the status with the JSON that came back; `null` for an empty answer.
    ///
    /// # Errors
    /// If the daemon can't be reached or its answer is not JSON.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, Value)> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body.map(Value::to_string).unwrap_or_default().into()))
            .context("the address is no URL")?;
        let response = self.connections.request(request).await.with_context(|| format!("can't reach {}", self.base))?;
        let status = response.status();
        let body = response.into_body().collect().await.context("the answer broke off")?.to_bytes();
        let value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).context("not JSON")? };
        Ok((status, value))
    }

    /// Asks for something long, to be read as it comes.
    ///
    /// # Errors
    /// If the daemon can't be reached or says no; the message is what it said.
    pub async fn open(&self, path: &str) -> Result<Incoming> {
        let request = Request::builder()
            .uri(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .body(Full::default())
            .context("the address is no URL")?;
        let response = self.connections.request(request).await.with_context(|| format!("can't reach {}", self.base))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let why = response.into_body().collect().await.context("the answer broke off")?.to_bytes();
        bail!("GET {path} was answered with {status}: {}", String::from_utf8_lossy(&why))
    }

    /// Sends JSON and insists on success.
    ///
    /// # Errors
    /// If the daemon can't be reached or says no; the message is what it said.
    pub async fn must(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let (status, answer) = self.call(method.clone(), path, Some(body)).await?;
        if !status.is_success() {
            bail!("{method} {path} was answered with {status}: {answer}");
        }
        Ok(answer)
    }
}
