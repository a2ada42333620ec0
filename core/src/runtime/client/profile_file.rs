//! A profile as a TOML file that only its owner may read. No error repeats a value: any of them
//! may be the private key in the wrong place.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use toml::{Table, Value};
use zeroize::Zeroizing;

use super::{Onboarding, Profile};
use crate::assurance::FactorKind;
use crate::channel::message::SecretString;
use crate::client::EnrolRequest;
use crate::private_file;

impl Profile {
    /// Reads a profile from a TOML file.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ProfileError> {
        Self::from_toml(&text_of(path.as_ref())?)
    }

    /// Reads a profile from TOML.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub fn from_toml(text: &str) -> Result<Self, ProfileError> {
        Self::from_table(text.parse().map_err(|error| syntax(text, &error))?).map_err(ProfileError)
    }

    fn from_table(table: Table) -> Result<Self, ProfileFault> {
        let mut fields = Fields(table);
        let profile = Self {
            location: fields.parse("location", "a name")?,
            location_key: fields.parse("location_key", WIREGUARD_KEY)?,
            control: fields.list("control", "a list of control URLs")?,
            endpoint: fields.parse("endpoint", "a host and a port")?,
            private_key: fields.parse("private_key", WIREGUARD_KEY)?,
            addresses: fields.prefixes("addresses")?,
            allowed_ips: fields.prefixes("allowed_ips")?,
            keepalive: fields
                .number("keepalive", "a number of seconds, 1 to 65535")?
                .map(|seconds| Duration::from_secs(seconds.into())),
            dns: fields.optional_list("dns", "a list of IP addresses")?,
            mtu: fields.number("mtu", "a number of bytes, 1 to 65535")?,
        };
        fields.end()?;
        Ok(profile)
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
    /// `profile-file`.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), ProfileError> {
        write(path.as_ref(), &self.expose_toml()).map_err(ProfileError)
    }
}

/// The table of an [`Onboarding`] that a profile does not have.
const ENROL: &str = "enrol";

impl Onboarding {
    /// Reads a profile with or without what is to be enrolled first from a TOML file.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ProfileError> {
        Self::from_toml(&text_of(path.as_ref())?)
    }

    /// Reads a profile with or without what is to be enrolled first from TOML.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub fn from_toml(text: &str) -> Result<Self, ProfileError> {
        let mut table: Table = text.parse().map_err(|error| syntax(text, &error))?;
        let enrol = match table.remove(ENROL) {
            None => None,
            Some(Value::Table(fields)) => Some(request(fields)?),
            Some(_) => {
                let (field, expected) = (ENROL, "a table with `factor`, `label` and `token`");
                return Err(ProfileError(ProfileFault::Invalid { field, expected }));
            }
        };
        let profile = Profile::from_table(table)?;
        Ok(Self { profile, enrol })
    }

    /// The profile as TOML with what is to be enrolled first, its private key and the token
    /// included. Zeroized on drop.
    pub fn expose_toml(&self) -> Zeroizing<String> {
        let profile = self.profile.expose_toml();
        let Some(enrol) = &self.enrol else {
            return profile;
        };
        let (factor, label) = (enrol.kind.to_string(), enrol.label.to_string());
        let (factor, label) = (Value::from(factor), Value::from(label));
        // The secrets go straight into texts that are zeroized.
        let table = format!("\n[{ENROL}]\nfactor = {factor}\nlabel = {label}\n");
        let mut text = Zeroizing::new(String::with_capacity(profile.len() + table.len() + 1024));
        text.push_str(&profile);
        text.push_str(&table);
        if let Some(token) = &enrol.token {
            text.push_str("token = ");
            let token = Zeroizing::new(toml::Value::from(token.expose_secret()).to_string());
            text.push_str(&token);
            text.push('\n');
        }
        text
    }

    /// Writes it to a file that only its owner may read (mode 0600 on Unix), in place of what was
    /// there, all or nothing.
    ///
    /// # Errors
    /// `profile-file`.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), ProfileError> {
        write(path.as_ref(), &self.expose_toml()).map_err(ProfileError)
    }
}

fn request(table: Table) -> Result<EnrolRequest, ProfileFault> {
    let mut fields = Fields(table);
    let name: String = fields.parse("factor", "a kind of factor, such as \"totp\"")?;
    let has_token = fields.0.contains_key("token");
    let token = has_token.then(|| {
        let (field, expected) = ("token", "an enrolment token: `mfe_` and 43 characters");
        let token = SecretString::new(fields.parse(field, expected)?);
        token.ok_or(ProfileFault::Invalid { field, expected })
    });
    let request = EnrolRequest {
        kind: FactorKind::from_string(name),
        token: token.transpose()?,
        label: fields.parse("label", "a label of 1 to 64 printable characters")?,
    };
    fields.end()?;
    Ok(request)
}

fn text_of(path: &Path) -> Result<Zeroizing<String>, ProfileFault> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    text.map_err(|source| ProfileFault::File {
        path: path.to_owned(),
        source,
    })
}

fn write(path: &Path, text: &str) -> Result<(), ProfileFault> {
    private_file::replace(path, text.as_bytes()).map_err(|source| ProfileFault::File {
        path: path.to_owned(),
        source,
    })
}

const WIREGUARD_KEY: &str = "a WireGuard key: 44 characters of Base64";
const PREFIXES: &str = "a list of IP prefixes, such as [\"10.0.0.0/24\"]";

crate::error_code::opaque! {
    /// Why a profile can't be read or written.
    pub struct ProfileError(ProfileFault);
}

/// What is behind [`ProfileError`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProfileFault {
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

fn syntax(text: &str, error: &toml::de::Error) -> ProfileFault {
    let at = error.span().map_or(0, |span| span.start);
    let before = text.as_bytes().iter().take(at);
    let line = before.filter(|byte| **byte == b'\n').count() + 1;
    ProfileFault::Syntax { line }
}

/// The fields that have not been taken yet.
struct Fields(Table);

impl Fields {
    /// Fails for a field that was not taken.
    fn end(self) -> Result<(), ProfileFault> {
        match self.0.into_iter().next() {
            Some((field, _)) => Err(ProfileFault::Unknown { field }),
            None => Ok(()),
        }
    }

    fn take(&mut self, field: &'static str, expected: &'static str) -> Result<Value, ProfileFault> {
        let value = self.0.remove(field);
        value.ok_or(ProfileFault::Missing { field, expected })
    }

    fn parse<T: FromStr>(
        &mut self,
        field: &'static str,
        expected: &'static str,
    ) -> Result<T, ProfileFault> {
        let value = self.take(field, expected)?;
        parse(value).ok_or(ProfileFault::Invalid { field, expected })
    }

    fn list<T: FromStr>(
        &mut self,
        field: &'static str,
        expected: &'static str,
    ) -> Result<Vec<T>, ProfileFault> {
        let Value::Array(values) = self.take(field, expected)? else {
            return Err(ProfileFault::Invalid { field, expected });
        };
        let all: Option<Vec<T>> = values.into_iter().map(parse).collect();
        all.ok_or(ProfileFault::Invalid { field, expected })
    }

    /// Networks. An address without a prefix is one by itself.
    fn prefixes(&mut self, field: &'static str) -> Result<Vec<IpNet>, ProfileFault> {
        let prefixes = self.list(field, PREFIXES)?;
        Ok(prefixes.into_iter().map(|Prefix(net)| net).collect())
    }

    fn optional_list<T: FromStr>(
        &mut self,
        field: &'static str,
        expected: &'static str,
    ) -> Result<Vec<T>, ProfileFault> {
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
    ) -> Result<Option<u16>, ProfileFault> {
        let Some(value) = self.0.remove(field) else {
            return Ok(None);
        };
        let number = value
            .as_integer()
            .and_then(|number| u16::try_from(number).ok())
            .filter(|number| *number > 0)
            .ok_or(ProfileFault::Invalid { field, expected })?;
        Ok(Some(number))
    }
}

struct Prefix(IpNet);

impl FromStr for Prefix {
    type Err = ipnet::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let single = text.parse::<IpAddr>().map(IpNet::from);
        Ok(Self(single.or_else(|_| text.parse())?))
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

    fn onboarding() -> Onboarding {
        let token = "mfe_0123456789".to_owned();
        Onboarding {
            profile: profile(),
            enrol: Some(EnrolRequest {
                kind: FactorKind::TOTP,
                label: "my \"phone\"".parse().unwrap(),
                token: SecretString::new(token),
            }),
        }
    }

    #[test]
    fn an_onboarding_file_reads_back_and_is_no_profile() {
        let text = onboarding().expose_toml();
        assert_eq!(Onboarding::from_toml(&text).unwrap(), onboarding());
        let refused = Profile::from_toml(&text).unwrap_err();
        assert!(matches!(refused, ProfileError(ProfileFault::Unknown { field }) if field == ENROL));
    }

    #[test]
    fn a_profile_is_an_onboarding_file_with_nothing_to_enrol() {
        let read = Onboarding::from_toml(&profile().expose_toml()).unwrap();
        assert_eq!(read, profile().into());
        assert_eq!(*read.expose_toml(), *profile().expose_toml());
    }

    #[test]
    fn an_onboarding_file_that_is_wrong_repeats_no_token() {
        let good = onboarding().expose_toml();
        for (from, to) in [
            ("label = ", "lable = "),
            ("factor = \"totp\"", "factor = 1"),
            ("token = ", "tokens = "),
            ("token = \"mfe_0123456789\"", "token = [\"mfe_0123456789\"]"),
        ] {
            let error = Onboarding::from_toml(&good.replace(from, to)).unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(!said.contains("mfe_0123"), "{error}");
        }
        assert!(!format!("{:?}", onboarding()).contains("mfe_"));
    }

    #[test]
    fn an_address_without_a_prefix_is_one_by_itself() {
        let written = profile().expose_toml();
        let text = written.replace("[\"10.0.0.2/32\"]", "[\"10.0.0.2\", \"fd00::2\"]");
        let read = Profile::from_toml(&text).unwrap();
        let addresses: Vec<IpNet> = vec![
            "10.0.0.2/32".parse().unwrap(),
            "fd00::2/128".parse().unwrap(),
        ];
        assert_eq!(read.addresses, addresses);
    }

    #[test]
    fn the_private_key_never_prints() {
        let key = profile().private_key.expose_base64();
        assert!(!format!("{:?}", profile()).contains(key.as_str()));
    }
}
