//! What a shopper reads: texts per language, and templates that are proved at compile time.
//!
//! A text is tried with every combination of what may be missing before its campaign is taken, so that it does not
//! fail for the first shopper without a loyalty tier. What a text may name is the closed list in [`facts`].

pub mod facts;
mod proof;
mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};
use serde::{Deserialize, Serialize};

use self::facts::{Facts, Scope};
use crate::{notification::Content, problem::Problem};

/// The longest title, in bytes: services show one line of it.
pub const TITLE_MAX: usize = 200;
/// The longest body, in bytes.
pub const BODY_MAX: usize = 1_000;
/// The longest deep link, in bytes.
pub const DEEP_LINK_MAX: usize = 500;
/// The most bytes of all names and values of `data`.
pub const DATA_MAX: usize = 600;
/// The most languages of one campaign.
const LOCALES_MAX: usize = 64;
/// Instructions that one text may take: some thousand times what a message needs, and far below a millisecond.
const FUEL: u64 = 10_000;

/// One language's texts, as they are written; each is a template.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// First line.
    pub title: String,
    /// The text.
    pub body: String,
    /// For the app.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
}

/// All languages of a campaign, compiled.
#[derive(Clone, Debug)]
pub struct Templates {
    environment: Environment<'static>,
    locales: BTreeMap<String, Locale>,
    default: String,
    has_link: bool,
    used: BTreeSet<String>,
    needs_store: bool,
}

#[derive(Clone, Debug)]
struct Locale {
    tag: String,
    data: Vec<String>,
}

impl Templates {
    /// Checks and compiles texts.
    ///
    /// # Errors
    /// Everything that is wrong with them, with paths into the campaign.
    pub fn compile(
        content: &BTreeMap<String, Text>,
        default_locale: Option<&str>,
        deep_link: Option<&str>,
        scope: Scope,
    ) -> Result<Templates, Vec<Problem>> {
        let mut problems = Vec::new();
        let default = default_of(content, default_locale, &mut problems);
        let mut templates = Templates {
            environment: BASE.clone(),
            locales: BTreeMap::new(),
            default,
            has_link: deep_link.is_some(),
            used: BTreeSet::new(),
            needs_store: false,
        };
        for (tag, text) in content.iter().take(LOCALES_MAX) {
            templates.add(tag, text, scope, &mut problems);
        }
        if let Some(link) = deep_link {
            if let Err(message) = link_scheme(link) {
                problems.push(Problem::new("/deep_link", message));
            }
            let place = Place { name: "deep_link".to_owned(), path: "/deep_link".to_owned(), bytes_max: DEEP_LINK_MAX };
            templates.add_template(place, link, scope, &mut problems);
        }
        if problems.is_empty() { Ok(templates) } else { Err(problems) }
    }

    /// Whether the texts name the store without saying what stands there if there is none.
    pub fn needs_store(&self) -> bool {
        self.needs_store
    }

    /// Renders the texts in the first wanted language that exists, by RFC 4647 lookup.
    ///
    /// # Errors
    /// The reason in a sentence; only a text that calculates with a shopper's values can come here.
    pub fn render(&self, wanted: &[Option<&str>], facts: &Facts<'_>) -> Result<Content, String> {
        let key = self.choose(wanted);
        let Some(locale) = self.locales.get(key) else { return Err(format!("no content for {key:?}")) };
        let values = facts.values(self.used.iter().map(String::as_str));
        let text = |name: &str| self.text(&format!("{key}/{name}"), &values);
        let mut data = BTreeMap::new();
        for name in &locale.data {
            data.insert(name.clone(), text(&format!("data/{name}"))?);
        }
        let bytes: usize = data.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > DATA_MAX {
            return Err(format!("data has {bytes} bytes, at most {DATA_MAX} fit"));
        }
        let deep_link = if self.has_link { Some(link(&self.text("deep_link", &values)?)?) } else { None };
        Ok(Content {
            title: shortened(text("title")?.trim(), TITLE_MAX),
            body: shortened(text("body")?.trim(), BODY_MAX),
            deep_link,
            data,
            locale: locale.tag.clone(),
        })
    }

    fn text(&self, name: &str, values: &Value) -> Result<String, String> {
        let template = self.environment.get_template(name).map_err(|error| error.to_string())?;
        template.render(values).map_err(|error| proof::sentence(&error))
    }

    fn choose(&self, wanted: &[Option<&str>]) -> &str {
        for tag in wanted.iter().flatten() {
            let mut tag = tag.to_ascii_lowercase().replace('_', "-");
            loop {
                if let Some((key, _)) = self.locales.get_key_value(&tag) {
                    return key;
                }
                let Some(cut) = tag.rfind('-') else { break };
                tag.truncate(cut);
            }
        }
        &self.default
    }

    fn add(&mut self, tag: &str, text: &Text, scope: Scope, problems: &mut Vec<Problem>) {
        let path = format!("/content/{tag}");
        let key = tag.to_ascii_lowercase();
        if let Err(message) = check_locale(tag) {
            problems.push(Problem::new(&path, message));
        }
        for (name, source, bytes_max) in [("title", &text.title, TITLE_MAX), ("body", &text.body, BODY_MAX)] {
            let place = Place { name: format!("{key}/{name}"), path: format!("{path}/{name}"), bytes_max };
            if source.trim().is_empty() {
                problems.push(Problem::new(&place.path, "must not be empty"));
            }
            self.add_template(place, source, scope, problems);
        }
        for (name, source) in &text.data {
            let place = Place {
                name: format!("{key}/data/{name}"),
                path: format!("{path}/data/{name}"),
                bytes_max: DATA_MAX - name.len().min(DATA_MAX),
            };
            if let Err(message) = check_data_name(name) {
                problems.push(Problem::new(&place.path, message));
            }
            self.add_template(place, source, scope, problems);
        }
        let bytes: usize = text.data.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > DATA_MAX {
            problems.push(Problem::new(format!("{path}/data"), format!("{bytes} bytes, at most {DATA_MAX} fit")));
        }
        let locale = Locale { tag: tag.to_owned(), data: text.data.keys().cloned().collect() };
        if self.locales.insert(key, locale).is_some() {
            problems.push(Problem::new(path, "the same language twice, written differently"));
        }
    }

    fn add_template(&mut self, place: Place, source: &str, scope: Scope, problems: &mut Vec<Problem>) {
        if let Err(message) = source::check(source) {
            problems.push(Problem::new(place.path, message));
            return;
        }
        if let Err(error) = self.environment.add_template_owned(place.name.clone(), source.to_owned()) {
            problems.push(Problem::new(place.path, proof::sentence(&error)));
            return;
        }
        let Ok(template) = self.environment.get_template(&place.name) else { return };
        match proof::prove(&template, scope, place.bytes_max) {
            Ok(proved) => {
                self.used.extend(proved.used);
                self.needs_store |= proved.needs_store;
            }
            Err(messages) => problems.extend(messages.into_iter().map(|message| Problem::new(&place.path, message))),
        }
    }
}

/// Whether a text looks like a BCP 47 language tag.
///
/// # Errors
/// What is wrong, in a sentence.
pub fn check_locale(tag: &str) -> Result<(), String> {
    let mut parts = tag.split('-');
    let language = parts
        .next()
        .is_some_and(|part| (2..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphabetic()));
    let rest = parts.all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    if language && rest && tag.len() <= 35 {
        Ok(())
    } else {
        Err(format!("{tag:?} is not a BCP 47 language tag such as \"fr\" or \"fr-FR\""))
    }
}

struct Place {
    name: String,
    path: String,
    bytes_max: usize,
}

/// Texts have no loops over files, macros or includes, and only filters that cannot fail on a text.
static BASE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::empty();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_fuel(Some(FUEL));
    environment.add_filter("default", minijinja::filters::default);
    environment.add_filter("upper", minijinja::filters::upper);
    environment.add_filter("lower", minijinja::filters::lower);
    environment.add_filter("trim", minijinja::filters::trim);
    environment.add_filter("join", minijinja::filters::join);
    environment.add_filter("length", minijinja::filters::length);
    environment.add_filter("urlencode", |text: &str| percent_encoded(text, |byte| !unreserved(byte)));
    environment.add_test("defined", |value: &Value| !value.is_undefined());
    environment
});

fn default_of(content: &BTreeMap<String, Text>, asked: Option<&str>, problems: &mut Vec<Problem>) -> String {
    let has = |tag: &str| content.keys().find(|key| key.eq_ignore_ascii_case(tag));
    if content.is_empty() {
        problems.push(Problem::new("/content", "needs at least one language, such as [campaign.content.en]"));
    }
    if content.len() > LOCALES_MAX {
        problems.push(Problem::new("/content", format!("at most {LOCALES_MAX} languages")));
    }
    if let Some(asked) = asked {
        if has(asked).is_none() {
            problems.push(Problem::new("/default_locale", format!("there is no content for {asked:?}")));
        }
        return asked.to_ascii_lowercase();
    }
    match (has("en"), content.keys().next(), content.len()) {
        (Some(_), _, _) => "en".to_owned(),
        (None, Some(only), 1) => only.to_ascii_lowercase(),
        (None, Some(_), _) => {
            problems
                .push(Problem::new("/default_locale", "several languages and no \"en\": say which one is the default"));
            String::new()
        }
        (None, None, _) => String::new(),
    }
}

fn check_data_name(name: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        return Err("a name has letters, digits, '_', '-' and '.', at most 64".to_owned());
    }
    // Names that Firebase and Apple keep for themselves.
    if name == "from"
        || name == "message_type"
        || name == "aps"
        || name.starts_with("google")
        || name.starts_with("gcm")
    {
        return Err(format!("push services keep {name:?} for themselves"));
    }
    Ok(())
}

fn link_scheme(link: &str) -> Result<(), String> {
    let wrong = || "must begin with https: or the app's own scheme, written out, such as \"https://\"".to_owned();
    let (scheme, _) = link.split_once(':').ok_or_else(wrong)?;
    let first = scheme.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.');
    let forbidden = ["http", "javascript", "data", "file", "vbscript", "blob", "about"].contains(&scheme);
    if !first || !scheme.bytes().all(plain) || forbidden { Err(wrong()) } else { Ok(()) }
}

fn link(rendered: &str) -> Result<String, String> {
    let text = percent_encoded(rendered.trim(), |byte| {
        !byte.is_ascii_graphic() || matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
    });
    if text.len() > DEEP_LINK_MAX {
        return Err(format!("the deep link has {} bytes, at most {DEEP_LINK_MAX} fit", text.len()));
    }
    Ok(text)
}

/// RFC 3986, section 2.3.
fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn percent_encoded(text: &str, odd: impl Fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if odd(byte) { encoded.push_str(&format!("%{byte:02X}")) } else { encoded.push(char::from(byte)) }
    }
    encoded
}

fn shortened(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    const ELLIPSIS: &str = "…";
    let end = text.floor_char_boundary(bytes_max - ELLIPSIS.len());
    format!("{}{ELLIPSIS}", text[..end].trim_end())
}

#[cfg(test)]
mod tests;
