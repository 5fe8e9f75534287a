//! Settings from a TOML file.

use super::{
    keys::{self, Key},
    layer::{Layer, Origin},
};
use crate::failure::Failure;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// Reads the file at `path`.
///
/// # Errors
/// Wrong use: the file cannot be read or is no TOML, a key is not known, a value is of a kind that no setting has.
pub(crate) fn read(path: &Path, known: &'static [Key], command: &str) -> Result<Layer, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!("configuration file {} cannot be read: {error}", path.display()))
            .with_next("name an existing file with --config, or give the settings as flags")
    })?;
    parse(&text, path, known, command)
}

/// Reads the text of a file; `path` is named in errors.
///
/// # Errors
/// As for [`read`].
pub(crate) fn parse(text: &str, path: &Path, known: &'static [Key], command: &str) -> Result<Layer, Failure> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        Failure::usage(format!("{}, line {line}: this is no TOML: {}", path.display(), error.message()))
    })?;
    let mut reader = Reader { text, path, known, command, layer: Layer::default() };
    reader.table("", table.get_ref())?;
    Ok(reader.layer)
}

struct Reader<'a> {
    text: &'a str,
    path: &'a Path,
    known: &'static [Key],
    command: &'a str,
    layer: Layer,
}

impl Reader<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) -> Result<(), Failure> {
        for (key, value) in table {
            let name = format!("{prefix}{}", key.get_ref());
            let line = line_of(self.text, key.span().start);
            let origin = Origin::File(self.path.to_owned(), line);
            if let Some(found) = keys::find(self.known, &name) {
                let text = if let (DeValue::Table(table), "members") = (value.get_ref(), found.name) {
                    self.members(table, line)?
                } else {
                    scalar(value.get_ref()).ok_or_else(|| self.wrong(line, &name, &expectation(found)))?
                };
                self.layer.set(found.name, text, origin);
            } else if let (DeValue::Table(table), true) = (value.get_ref(), self.is_table(&name)) {
                self.table(&format!("{name}."), table)?;
            } else {
                return Err(self.unknown(line, &name));
            }
        }
        Ok(())
    }

    /// Whether some key begins with this table's name.
    fn is_table(&self, name: &str) -> bool {
        self.known.iter().any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
    }

    /// `[members]` with `1 = { peer = "host:port", client = "host:port" }`, as the text that the flag takes.
    fn members(&self, table: &DeTable<'_>, line: usize) -> Result<String, Failure> {
        let form = "write 1 = { peer = \"host:port\", client = \"host:port\" }";
        let mut parts = Vec::new();
        for (id, value) in table {
            let line = line_of(self.text, id.span().start).max(line);
            let name = format!("members.{}", id.get_ref());
            let DeValue::Table(fields) = value.get_ref() else { return Err(self.wrong(line, &name, form)) };
            let (mut peer, mut client) = (None, None);
            for (field, value) in fields {
                let slot = match field.get_ref().as_ref() {
                    "peer" => &mut peer,
                    "client" => &mut client,
                    other => return Err(self.unknown(line, &format!("{name}.{other}")).with_next(form)),
                };
                *slot = Some(scalar(value.get_ref()).ok_or_else(|| self.wrong(line, &name, form))?);
            }
            let (Some(peer), Some(client)) = (peer, client) else {
                return Err(self.wrong(line, &name, form));
            };
            parts.push(format!("{}={peer}/{client}", id.get_ref()));
        }
        Ok(parts.join(","))
    }

    fn wrong(&self, line: usize, name: &str, form: &str) -> Failure {
        Failure::usage(format!(
            "{}, line {line}: {name} has a value of a wrong kind: {form}",
            self.path.display()
        ))
    }

    fn unknown(&self, line: usize, name: &str) -> Failure {
        let meant = keys::nearest(name, self.known.iter().map(|key| key.name));
        let meant = meant.map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
        Failure::usage(format!("{}, line {line}: unknown key `{name}`{meant}", self.path.display()))
            .with_next(format!("correct or remove the key; `{} --help` names all of them", self.command))
    }
}

fn expectation(key: &Key) -> String {
    if key.value.is_empty() { "write true or false".to_owned() } else { format!("write a {}", key.value) }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Array(items) => {
            let items: Option<Vec<String>> = items.iter().map(|item| scalar(item.get_ref())).collect();
            items.map(|items| items.join(","))
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

/// The line of a byte, counted from 1.
fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{keys::Role as _, server::ServerRole};

    fn parse_server(text: &str) -> Result<Layer, Failure> {
        parse(text, Path::new("q.toml"), ServerRole::KEYS, ServerRole::COMMAND)
    }

    #[test]
    fn tables_and_dotted_keys_give_the_same_settings() {
        let tables = parse_server("node = 2\ninsecure = true\n[timing]\nheartbeat = \"60ms\"\n").unwrap();
        let dotted = parse_server("node = 2\ninsecure = true\n\ntiming.heartbeat = \"60ms\"\n").unwrap();
        assert_eq!(tables, dotted);
        assert_eq!(tables.get("timing.heartbeat").unwrap().text, "60ms");
        assert_eq!(tables.get("timing.heartbeat").unwrap().origin, Origin::File("q.toml".into(), 4));
    }

    #[test]
    fn members_are_a_table_or_a_text() {
        let table = parse_server(
            "[members]\n1 = { peer = \"a:2\", client = \"a:1\" }\n2 = { peer = \"b:2\", client = \"b:1\" }",
        );
        assert_eq!(table.unwrap().get("members").unwrap().text, "1=a:2/a:1,2=b:2/b:1");
        assert_eq!(
            parse_server("members = \"1=a:2/a:1\"").unwrap().get("members").unwrap().text,
            "1=a:2/a:1"
        );
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
        let failure = parse_server("node = 1\n\n[timing]\nhartbeat = \"50ms\"\n").unwrap_err();
        assert_eq!(
            failure.message,
            "q.toml, line 4: unknown key `timing.hartbeat`; did you mean `timing.heartbeat`?"
        );
        assert_eq!(failure.kind, crate::failure::Kind::Usage);
        assert!(failure.next.unwrap().contains("quorate server --help"));
        let failure = parse_server("[colour]\nred = 1").unwrap_err();
        assert_eq!(failure.message, "q.toml, line 1: unknown key `colour`");
        let failure = parse_server("[members]\n1 = { pear = \"a:1\", client = \"a:2\" }").unwrap_err();
        assert!(failure.message.contains("line 2: unknown key `members.1.pear`"), "{failure}");
    }

    #[test]
    fn what_is_no_toml_or_no_value_is_refused_with_its_line() {
        let failure = parse_server("node = 1\nnode = 2\n").unwrap_err();
        assert!(failure.message.starts_with("q.toml, line 2: this is no TOML"), "{failure}");
        let failure = parse_server("\nnode = 1.5\n").unwrap_err();
        assert!(failure.message.starts_with("q.toml, line 2: node has a value of a wrong kind"), "{failure}");
        let failure = parse_server("[node]\nx = 1\n").unwrap_err();
        assert!(failure.message.starts_with("q.toml, line 1: node has a value of a wrong kind"), "{failure}");
        let failure = parse_server("[members]\n1 = \"a:1\"\n").unwrap_err();
        assert!(
            failure.message.starts_with("q.toml, line 2: members.1 has a value of a wrong kind"),
            "{failure}"
        );
    }
}
