//! `import`: many users and devices from a file, all of them or none.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;
use mfagate::assurance::FactorKind;
use mfagate::enrol::{ImportEntry, ImportError, ImportedEntry, NewPeer, Registrar};
use mfagate::id::{GroupId, UserId};
use mfagate_examples::in_a_line;
use serde::Deserialize;
use serde_json::json;

use crate::enrolment::address;
use crate::output::Output;
use crate::revoke_args::Target;
use crate::sessions;
use crate::settings::Settings;
use crate::token::kind;

/// A file of comma-separated values (RFC 4180), whose first line names its columns: `user`, and any
/// of `groups`, `label`, `key`, `addresses` and `token`. Several groups, addresses or kinds of
/// factors in one field have semicolons between them.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// File, or `-` for the standard input.
    file: PathBuf,
    /// Lifetime of the tokens.
    #[arg(long, default_value = "1day")]
    ttl: humantime::Duration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    user: String,
    /// Empty leaves a known user's.
    #[serde(default)]
    groups: String,
    /// Empty for "device".
    #[serde(default)]
    label: String,
    /// The device's public key; empty where there is no device.
    #[serde(default)]
    key: String,
    /// Empty for the next free ones.
    #[serde(default)]
    addresses: String,
    /// The kinds of factors that a token enrols, or `any`; empty for no token.
    #[serde(default)]
    token: String,
}

/// Users who are put into other groups by this: the policy may no longer admit them.
async fn moved(
    registrar: &Registrar,
    entries: &[ImportEntry],
) -> Result<BTreeSet<UserId>, Box<dyn Error>> {
    let users = registrar.users().await?.into_iter();
    let before: BTreeMap<_, _> = users.map(|user| (user.id, user.groups)).collect();
    let moved = entries.iter().filter(|entry| {
        let groups = entry.groups.as_ref();
        groups.is_some_and(|to| before.get(&entry.user).is_some_and(|from| from != to))
    });
    Ok(moved.map(|entry| entry.user.clone()).collect())
}

pub(crate) async fn import(
    settings: &Settings,
    import: &Import,
    output: Output,
) -> Result<(), Box<dyn Error>> {
    let mut text = Vec::new();
    if import.file == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut text)?;
    } else {
        let failed = |error| format!("{}: {error}", import.file.display());
        text = std::fs::read(&import.file).map_err(failed)?;
    }
    let (lines, entries, mut faults) = read(settings, &text, import.ttl.into());
    let registrar = settings.registrar()?;
    let refused = if faults.is_empty() {
        let moved = moved(&registrar, &entries).await?;
        match registrar.import(entries).await {
            Ok(imported) => {
                say(&imported, &lines, output);
                for user in moved {
                    sessions::settle(settings, &Target::User(user)).await?;
                }
                return Ok(());
            }
            Err(error) => error,
        }
    } else {
        // Of the lines that can be read, all that is wrong with them too.
        match registrar.check_import(entries).await {
            Ok(()) => ImportError::Refused(Vec::new()),
            Err(error) => error,
        }
    };
    let ImportError::Refused(refused) = refused else {
        return Err(refused.into());
    };
    faults.extend(refused.into_iter().map(|(place, error)| {
        let line = lines.get(place).map_or(0, |(line, _)| *line);
        (line, in_a_line(&error))
    }));
    faults.sort_by_key(|(line, _)| *line);
    for (line, fault) in &faults {
        output.complain(&format_args!("{}:{line}: {fault}", import.file.display()));
    }
    Err(format!(
        "nothing was imported: correct these {} lines and import the file again",
        faults.len()
    )
    .into())
}

type Lines = (Vec<(u64, UserId)>, Vec<ImportEntry>, Vec<(u64, String)>);

/// What is in the file, with the number of each line; and all that is wrong with it.
fn read(settings: &Settings, text: &[u8], ttl: Duration) -> Lines {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(text);
    let (mut lines, mut entries, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    let headers = match reader.headers() {
        Ok(headers) => headers.clone(),
        Err(error) => {
            faults.push((1, in_a_line(&error)));
            return (lines, entries, faults);
        }
    };
    for record in reader.records() {
        let position = match &record {
            Ok(record) => record.position(),
            Err(error) => error.position(),
        };
        let at = position.map_or(0, csv::Position::line);
        let line = record.and_then(|record| record.deserialize::<Line>(Some(&headers)));
        let read = line.map_err(|error| in_a_line(&error));
        match read.and_then(|line| entry(settings, &line, ttl)) {
            Ok(entry) => {
                lines.push((at, entry.user.clone()));
                entries.push(entry);
            }
            Err(fault) => faults.push((at, fault)),
        }
    }
    (lines, entries, faults)
}

fn entry(settings: &Settings, line: &Line, ttl: Duration) -> Result<ImportEntry, String> {
    let user = line
        .user
        .parse()
        .map_err(|error| format!("user: {error}"))?;
    let groups: Vec<GroupId> = several(&line.groups, |text| {
        text.parse().map_err(|error| format!("groups: {error}"))
    })?;
    let addresses: Vec<IpNet> = several(&line.addresses, |text| {
        address(text).map_err(|error| format!("addresses: {error}"))
    })?;
    let kinds: Vec<FactorKind> = match line.token.as_str() {
        "any" => Vec::new(),
        kinds => several(kinds, |text| {
            kind(text).map_err(|error| format!("token: {error}"))
        })?,
    };
    let peer = if line.key.is_empty() {
        if !line.label.is_empty() || !addresses.is_empty() {
            return Err(
                "a device without a key: give its public key in the column `key`".to_owned(),
            );
        }
        None
    } else {
        let label = match line.label.as_str() {
            "" => "device",
            label => label,
        };
        Some(NewPeer {
            location: settings.location.clone(),
            key: line.key.parse().map_err(|error| format!("key: {error}"))?,
            label: label.parse().map_err(|error| format!("label: {error}"))?,
            addresses,
        })
    };
    Ok(ImportEntry {
        user,
        groups: (!groups.is_empty()).then_some(groups),
        peer,
        token: (!line.token.is_empty()).then_some((kinds, ttl)),
    })
}

fn several<T>(field: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    let parts = field.split(';').map(str::trim);
    parts.filter(|part| !part.is_empty()).map(parse).collect()
}

fn say(imported: &[ImportedEntry], lines: &[(u64, UserId)], output: Output) {
    for (one, (_, user)) in imported.iter().zip(lines) {
        let peer = one.peer.as_ref();
        let token = one.token.as_ref();
        let line = json!({
            "type": "imported",
            "user": user,
            "peer": peer.map(|peer| peer.key),
            "addresses": peer.map(|peer| &peer.allowed_ips),
            "token": token.map(|token| token.expose_text()),
            "not_after_ms": token.map(|token| token.not_after.as_millis()),
        });
        let peer = peer.map(|peer| {
            let addresses: Vec<_> = peer.allowed_ips.iter().map(IpNet::to_string).collect();
            format!(" {} {}", peer.key, addresses.join(","))
        });
        let token = token.map(|token| format!(" {}", token.expose_text()));
        let text = format!(
            "{user}{}{}",
            peer.unwrap_or_default(),
            token.unwrap_or_default()
        );
        output.say(text, &line);
    }
}
