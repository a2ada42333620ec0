//! Texts, times and names from one language to the other.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use mfagate::code::ErrorCode;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::native::failure::Failure;

/// Parses a name, a key or an identifier; the error says what is wrong with it and does not repeat it.
pub(crate) fn parse<T>(text: &str) -> Result<T, Failure>
where
    T: FromStr,
    T::Err: ErrorCode + std::fmt::Display,
{
    text.parse()
        .map_err(|error: T::Err| Failure::invalid(error.code(), error.to_string()))
}

pub(crate) fn address(text: &str) -> Result<SocketAddr, Failure> {
    text.parse().map_err(|_| {
        Failure::invalid(
            "not-an-address",
            "expected an IP address and a port, as in 127.0.0.1:8080 or [::1]:8080",
        )
    })
}

pub(crate) fn network(text: &str) -> Result<IpNet, Failure> {
    let expected = || {
        Failure::invalid(
            "not-a-network",
            "expected an IP address with its network, as in 10.9.0.1/24",
        )
    };
    text.parse().map_err(|_| expected())
}

pub(crate) fn networks(texts: &[String]) -> Result<Vec<IpNet>, Failure> {
    texts.iter().map(|text| network(text)).collect()
}

/// A number of seconds as a span.
pub(crate) fn seconds(seconds: f64) -> Result<Duration, Failure> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| Failure::invalid("not-a-span", "expected a number of seconds from 0 on"))
}

/// Networks as `ipaddress.ip_interface` has them.
pub(crate) fn interfaces<'py>(py: Python<'py>, nets: &[IpNet]) -> PyResult<Bound<'py, PyList>> {
    let module = py.import(intern!(py, "ipaddress"))?;
    let list = PyList::empty(py);
    for net in nets {
        list.append(module.call_method1(intern!(py, "ip_interface"), (net.to_string(),))?)?;
    }
    Ok(list)
}

/// A file's path as Python programs give it.
pub(crate) type FilePath = std::path::PathBuf;

/// The protocol's word for a reason.
pub(crate) fn word(reason: &impl serde::Serialize) -> String {
    match serde_json::to_value(reason) {
        Ok(serde_json::Value::String(word)) => word.replace('_', "-"),
        Ok(value) => {
            let word = value["type"].as_str().or_else(|| value["reason"].as_str());
            word.unwrap_or("unknown").replace('_', "-")
        }
        Err(_) => "unknown".to_owned(),
    }
}
