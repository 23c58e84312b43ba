//! `parvis dead-letters`: messages that a running daemon has given up, as a table, and trying them anew.

use std::{fs, io::Write, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use http::Method;
use serde_json::{Value, json};

use crate::{
    client::Client,
    fleet::cli::{cell, escaped, write},
};

/// `parvis dead-letters`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists messages that were given up, the last ones first.
    List {
        #[command(flatten)]
        daemon: Daemon,
        #[command(flatten)]
        filter: Filter,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Tries messages anew, each as a new message.
    Replay {
        #[command(flatten)]
        daemon: Daemon,
        /// These.
        #[arg(required_unless_present = "all")]
        ids: Vec<String>,
        /// All that are listed.
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        #[command(flatten)]
        filter: Filter,
        /// How long they are of use from now on, such as `2h`; each as long as before if absent.
        #[arg(long)]
        ttl: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
struct Daemon {
    /// The daemon.
    #[arg(long, default_value = "http://127.0.0.1:8080", env = "PARVIS_URL")]
    url: String,
    /// A file that holds a key with the scope `send`; `read` is enough for a list.
    #[arg(long, env = "PARVIS_KEY_FILE")]
    key_file: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Filter {
    /// Only those in the name of this app.
    #[arg(long)]
    app: Option<String>,
    /// Only those of this channel: `apns`, `fcm`, `webpush` or `webhook`.
    #[arg(long)]
    channel: Option<String>,
}

const COLUMNS: &[&str] = &["notification", "died_at", "app", "channel", "attempts", "reason", "shopper", "replayed_as"];
/// As many as a daemon lists at once unless it is configured otherwise.
const PAGE: usize = 1_000;

/// Carries out `parvis dead-letters`.
///
/// # Errors
/// If the daemon can't be asked or says no, or if a message is not tried anew.
pub async fn run(args: Args, out: &mut impl Write) -> Result<()> {
    match args.command {
        Command::List { daemon, filter, limit } => list(&client(&daemon)?, &filter, limit, out).await,
        Command::Replay { daemon, ids, all: _, filter, ttl } => {
            let client = client(&daemon)?;
            let refused = if ids.is_empty() {
                replay_all(&client, &filter, ttl, out).await?
            } else {
                if filter.app.is_some() || filter.channel.is_some() {
                    bail!("--app and --channel go only with --all");
                }
                let mut refused = 0;
                for part in ids.chunks(PAGE) {
                    let answer = ask(&client, &with_ttl(json!({ "ids": part }), &ttl)).await?;
                    refused += tell(&answer, out)?;
                }
                refused
            };
            if refused > 0 { bail!("{refused} messages are not tried anew") } else { Ok(()) }
        }
    }
}

fn client(daemon: &Daemon) -> Result<Client> {
    let path = &daemon.key_file;
    let key = fs::read_to_string(path).with_context(|| format!("{} can't be read", path.display()))?;
    Ok(Client::new(&daemon.url, key.trim()))
}

async fn list(client: &Client, filter: &Filter, limit: usize, out: &mut impl Write) -> Result<()> {
    let mut rows = vec![COLUMNS.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()];
    let mut before: Option<String> = None;
    while rows.len() <= limit {
        let mut query = vec![("limit", (limit + 1 - rows.len()).min(PAGE).to_string())];
        query.extend(filter.app.clone().map(|app| ("app", app)));
        query.extend(filter.channel.clone().map(|channel| ("channel", channel)));
        query.extend(before.take().map(|before| ("before", before)));
        let query: Vec<String> = query.iter().map(|(name, text)| format!("{name}={}", escaped(text))).collect();
        let path = format!("/v1/dead-letters?{}", query.join("&"));
        let page = client.must(Method::GET, &path, &Value::Null).await?;
        for item in page["items"].as_array().into_iter().flatten() {
            rows.push(COLUMNS.iter().map(|name| cell(&item[*name])).collect());
        }
        before = page["next"].as_str().map(str::to_owned);
        if before.is_none() {
            break;
        }
    }
    write(&rows, out)
}

/// Goes through the list as it stands; what dies anew meanwhile comes before its beginning.
async fn replay_all(client: &Client, filter: &Filter, ttl: Option<String>, out: &mut impl Write) -> Result<u64> {
    let (mut refused, mut before) = (0, Value::Null);
    loop {
        let body = json!({ "app": filter.app, "channel": filter.channel, "limit": PAGE, "before": before });
        let answer = ask(client, &with_ttl(body, &ttl)).await?;
        refused += tell(&answer, out)?;
        before = answer["next"].clone();
        if before.is_null() {
            return Ok(refused);
        }
    }
}

fn with_ttl(mut body: Value, ttl: &Option<String>) -> Value {
    body["ttl"] = json!(ttl);
    body
}

async fn ask(client: &Client, body: &Value) -> Result<Value> {
    client.must(Method::POST, "/v1/dead-letters/replay", body).await
}

/// One line for each message; gives how many are not tried anew.
fn tell(answer: &Value, out: &mut impl Write) -> Result<u64> {
    for result in answer["results"].as_array().into_iter().flatten() {
        let became = if result["reason"].is_null() { &result["notification"] } else { &result["reason"] };
        writeln!(out, "{}  {}  {}", cell(&result["replays"]), cell(&result["status"]), cell(became))?;
    }
    Ok(answer["refused"].as_u64().unwrap_or(0))
}
