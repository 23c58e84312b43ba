//! What may stand in a template at all, seen before it is compiled: nothing that nests without end or grows without
//! bound. The library counts the steps of a text, but not what one step may cost.

/// The longest template, bytes: several times the longest text, and too short to nest deeper than a thread's stack.
const SOURCE_MAX: usize = 4_000;

/// What can be written between `{%` and `%}`. Nothing here gives a name to what was put together, so what is put
/// together can't be doubled again and again.
const STATEMENTS: [&str; 6] = ["if", "elif", "else", "endif", "for", "endfor"];

/// Refuses what could nest or grow without bound.
pub(super) fn check(source: &str) -> Result<(), String> {
    if source.len() > SOURCE_MAX {
        return Err(format!("is {} bytes long, at most {SOURCE_MAX} are taken of a template", source.len()));
    }
    let mut rest = source;
    while let Some((kind, after)) = opening(rest) {
        let (code, behind) = code(kind, after);
        match kind {
            Kind::Comment => {}
            Kind::Expression => expression(&code)?,
            Kind::Statement => statement(&code)?,
        }
        rest = behind;
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Expression,
    Statement,
    Comment,
}

/// The first place where code or a comment begins, and what follows.
fn opening(source: &str) -> Option<(Kind, &str)> {
    source.match_indices('{').find_map(|(at, _)| {
        let kind = match source.as_bytes().get(at + 1)? {
            b'{' => Kind::Expression,
            b'%' => Kind::Statement,
            b'#' => Kind::Comment,
            _ => return None,
        };
        Some((kind, &source[at + 2..]))
    })
}

/// Code without what stands in quotes, up to its end, and what is behind that.
fn code(kind: Kind, source: &str) -> (String, &str) {
    let end = match kind {
        Kind::Expression => "}}",
        Kind::Statement => "%}",
        Kind::Comment => "#}",
    };
    let (mut code, mut quote, mut escaped) = (String::new(), None, false);
    for (at, character) in source.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if character == '\\' => escaped = true,
            Some(open) if character == open => quote = None,
            Some(_) => {}
            None if source[at..].starts_with(end) => return (code, &source[at + end.len()..]),
            None if kind != Kind::Comment && matches!(character, '"' | '\'') => quote = Some(character),
            None => code.push(character),
        }
    }
    (code, "")
}

fn expression(code: &str) -> Result<(), String> {
    if code.contains('*') {
        return Err("multiplies, which texts must not; keep the product as an attribute".to_owned());
    }
    Ok(())
}

fn statement(code: &str) -> Result<(), String> {
    let code = code.trim_start_matches(['-', '+']).trim();
    let word = code.split(|letter: char| !letter.is_ascii_alphabetic()).next().unwrap_or_default();
    if !STATEMENTS.contains(&word) {
        return Err(format!("{word:?} is no statement of texts; there are if and for"));
    }
    if word == "for" {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "_.[]:- ".contains(letter);
        if !code.chars().all(plain) || code.split(' ').any(|word| word == "recursive") {
            return Err("a loop goes over something by its name, such as order.lines".to_owned());
        }
    }
    expression(code)
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn what_could_grow_or_nest_without_bound_is_refused() {
        for (source, why) in [
            ("{{ 'a' * 99999999 }}", "multiplies"),
            ("{{ '}}' * 99999999 }}", "multiplies"),
            ("{{ \"\\\"}}\" ~ store.name * 9 }}", "multiplies"),
            ("{# {{ #}{% if 'a' * 9 %}{% endif %}", "multiplies"),
            ("{% set a = a ~ a %}", "\"set\" is no statement"),
            ("{%- filter upper %}{% endfilter %}", "\"filter\" is no statement"),
            ("{% for b in [a ~ a] %}{% endfor %}", "by its name"),
            ("{% for b in order.lines recursive %}{% endfor %}", "by its name"),
            ("{%", "\"\" is no statement"),
        ] {
            assert!(check(source).is_err_and(|message| message.contains(why)), "{source}: {:?}", check(source));
        }
        assert!(check(&format!("{{{{ {}1 }}}}", "not ".repeat(8_000))).is_err_and(|it| it.contains("at most 4000")));
    }

    #[test]
    fn texts_are_left_alone() {
        for source in [
            "* conditions apply {{ store.name }} *",
            "{{ '*' }} {# * {% set #} {{ loyalty.points + 1 }}",
            "{% for line in order.lines[:3] -%}{{ line }}{% if not loop.last %}, {% endif %}{%- endfor %}",
            "{% if loyalty.tier is defined %}{{ loyalty.tier | upper }}{% elif device.locale %}x{% else %}y{% endif %}",
            "{ not code }} %}",
        ] {
            assert_eq!(check(source), Ok(()), "{source}");
        }
    }
}
