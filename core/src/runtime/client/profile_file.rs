//! A profile as a TOML file that only its owner may read. No error repeats a value: any of them
//! may be the private key in the wrong place.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use toml::{Table, Value};
use zeroize::Zeroizing;

use super::Profile;
use crate::private_file;

impl Profile {
    /// Reads a profile from a TOML file.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ProfileError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map(Zeroizing::new);
        let text = text.map_err(|source| ProfileError::File {
            path: path.to_owned(),
            source,
        })?;
        Self::from_toml(&text)
    }

    /// Reads a profile from TOML.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub fn from_toml(text: &str) -> Result<Self, ProfileError> {
        let table = text.parse().map_err(|error| syntax(text, &error))?;
        let mut fields = Fields(table);
        let profile = Self {
            location: fields.parse("location", "a name")?,
            location_key: fields.parse("location_key", WIREGUARD_KEY)?,
            control: fields.list("control", "a list of control URLs")?,
            endpoint: fields.parse("endpoint", "a host and a port")?,
            private_key: fields.parse("private_key", WIREGUARD_KEY)?,
            addresses: fields.list("addresses", PREFIXES)?,
            allowed_ips: fields.list("allowed_ips", PREFIXES)?,
            keepalive: fields
                .number("keepalive", "a number of seconds, 1 to 65535")?
                .map(|seconds| Duration::from_secs(seconds.into())),
            dns: fields.optional_list("dns", "a list of IP addresses")?,
            mtu: fields.number("mtu", "a number of bytes, 1 to 65535")?,
        };
        match fields.0.into_iter().next() {
            Some((field, _)) => Err(ProfileError::Unknown { field }),
            None => Ok(profile),
        }
    }

    /// The profile as TOML, its private key included. Zeroized on drop.
    pub fn expose_toml(&self) -> Zeroizing<String> {
        let strings = |all: Vec<String>| Value::Array(all.into_iter().map(Value::from).collect());
        let mut table = Table::new();
        table.insert("location".into(), self.location.to_string().into());
        table.insert("location_key".into(), self.location_key.to_string().into());
        table.insert("control".into(), strings(self.control.clone()));
        table.insert("endpoint".into(), self.endpoint.to_string().into());
        let addresses = self.addresses.iter().map(ToString::to_string).collect();
        table.insert("addresses".into(), strings(addresses));
        let allowed_ips = self.allowed_ips.iter().map(ToString::to_string).collect();
        table.insert("allowed_ips".into(), strings(allowed_ips));
        if let Some(keepalive) = self.keepalive {
            let seconds = i64::try_from(keepalive.as_secs()).unwrap_or(i64::MAX);
            table.insert("keepalive".into(), Value::Integer(seconds));
        }
        if !self.dns.is_empty() {
            let dns = self.dns.iter().map(ToString::to_string).collect();
            table.insert("dns".into(), strings(dns));
        }
        if let Some(mtu) = self.mtu {
            table.insert("mtu".into(), Value::Integer(mtu.into()));
        }
        // The key goes straight into the text that is zeroized, not through the table.
        Zeroizing::new(format!(
            "private_key = \"{}\"\n{table}",
            self.private_key.expose_base64().as_str()
        ))
    }

    /// Writes the profile to a file that only its owner may read (mode 0600 on Unix), in place of
    /// what was there, all or nothing.
    ///
    /// # Errors
    /// [`ProfileError::File`].
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), ProfileError> {
        let path = path.as_ref();
        private_file::replace(path, self.expose_toml().as_bytes()).map_err(|source| {
            ProfileError::File {
                path: path.to_owned(),
                source,
            }
        })
    }
}

const WIREGUARD_KEY: &str = "a WireGuard key: 44 characters of Base64";
const PREFIXES: &str = "a list of IP prefixes, such as [\"10.0.0.0/24\"]";

/// Why a profile can't be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The file can't be read or written.
    #[error("the profile {} can't be read or written: check that it exists and that you may", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The text is not TOML.
    #[error("line {line} of the profile is not TOML: ask your administrator for a new profile")]
    Syntax {
        /// The line, from 1.
        line: usize,
    },
    /// A field is not there.
    #[error("`{field}` is missing from the profile: it should be {expected}")]
    Missing {
        /// The field.
        field: &'static str,
        /// What belongs there.
        expected: &'static str,
    },
    /// A field's value is of another kind.
    #[error("`{field}` in the profile is not what it should be: {expected}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What belongs there.
        expected: &'static str,
    },
    /// There is a field that means nothing.
    #[error("the profile has a field `{field}` that means nothing: check its spelling")]
    Unknown {
        /// The field.
        field: String,
    },
}

fn syntax(text: &str, error: &toml::de::Error) -> ProfileError {
    let at = error.span().map_or(0, |span| span.start);
    let before = text.as_bytes().iter().take(at);
    let line = before.filter(|byte| **byte == b'\n').count() + 1;
    ProfileError::Syntax { line }
}

/// The fields that have not been taken yet.
struct Fields(Table);

impl Fields {
    fn take(&mut self, field: &'static str, expected: &'static str) -> Result<Value, ProfileError> {
        let value = self.0.remove(field);
        value.ok_or(ProfileError::Missing { field, expected })
    }

    fn parse<T: FromStr>(
        &mut self,
        field: &'static str,
        expected: &'static str,
    ) -> Result<T, ProfileError> {
        let value = self.take(field, expected)?;
        parse(value).ok_or(ProfileError::Invalid { field, expected })
    }

    fn list<T: FromStr>(
        &mut self,
        field: &'static str,
        expected: &'static str,
    ) -> Result<Vec<T>, ProfileError> {
        let Value::Array(values) = self.take(field, expected)? else {
            return Err(ProfileError::Invalid { field, expected });
        };
        let all: Option<Vec<T>> = values.into_iter().map(parse).collect();
        all.ok_or(ProfileError::Invalid { field, expected })
    }

    fn optional_list<T: FromStr>(
        &mut self,
        field: &'static str,
        expected: &'static str,
    ) -> Result<Vec<T>, ProfileError> {
        if self.0.contains_key(field) {
            self.list(field, expected)
        } else {
            Ok(Vec::new())
        }
    }

    fn number(
        &mut self,
        field: &'static str,
        expected: &'static str,
    ) -> Result<Option<u16>, ProfileError> {
        let Some(value) = self.0.remove(field) else {
            return Ok(None);
        };
        let number = value
            .as_integer()
            .and_then(|number| u16::try_from(number).ok())
            .filter(|number| *number > 0)
            .ok_or(ProfileError::Invalid { field, expected })?;
        Ok(Some(number))
    }
}

fn parse<T: FromStr>(value: Value) -> Option<T> {
    let Value::String(text) = value else {
        return None;
    };
    Zeroizing::new(text).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::PrivateKey;

    fn profile() -> Profile {
        Profile {
            location: "office \"north\"".parse().unwrap(),
            location_key: PrivateKey::from_bytes([3; 32]).public_key(),
            control: vec!["https://gate.example".to_owned()],
            endpoint: "gate.example:51820".parse().unwrap(),
            private_key: PrivateKey::from_bytes([7; 32]),
            addresses: vec!["10.0.0.2/32".parse().unwrap()],
            allowed_ips: vec!["10.0.0.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()],
            keepalive: Some(Duration::from_secs(25)),
            dns: vec!["10.0.0.1".parse().unwrap()],
            mtu: Some(1380),
        }
    }

    #[test]
    fn a_profile_reads_back_as_it_was_written_from_a_file_that_only_its_owner_reads() {
        let mut id = [0; 8];
        getrandom::fill(&mut id).unwrap();
        let name = format!("mfagate-profile-{}", data_encoding::HEXLOWER.encode(&id));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, "what was there").unwrap();

        profile().write(&path).unwrap();

        assert_eq!(Profile::read(&path).unwrap(), profile());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_profile_that_can_not_be_read_says_which_field_is_wrong_and_repeats_no_value() {
        let good = profile().expose_toml();
        let key = profile().private_key.expose_base64();
        let replace = |from: &str, to: &str| good.replace(from, to);
        let texts: Vec<String> = [
            replace("\"gate.example:51820\"", &format!("\"{}\"", *key)),
            replace("keepalive = 25", &format!("keepalive = \"{}\"", *key)),
            replace("keepalive = 25", "keepalive = 0"),
            replace("[\"10.0.0.2/32\"]", "\"10.0.0.2/32\""),
            replace("fd00::/64", "fd00::/640"),
            replace("\"10.0.0.1\"", "\"10.0.0\""),
            replace("mtu = 1380", "mtu = -1"),
            replace("location_key = ", "location_kay = "),
            replace("control = ", "controls = "),
            replace("keepalive = ", "keep_alive = "),
            replace("private_key = ", "private_key "),
            replace(&key, &format!("{}\n", *key)),
        ]
        .iter()
        .map(|text| Profile::from_toml(text).unwrap_err())
        .map(|error| format!("{error} | {error:?}"))
        .collect();

        let texts = texts.join("\n");
        assert!(!texts.contains(key.as_str()));
        insta::assert_snapshot!(texts);
    }

    #[test]
    fn the_private_key_never_prints() {
        let key = profile().private_key.expose_base64();
        assert!(!format!("{:?}", profile()).contains(key.as_str()));
    }
}
