//! What other languages see of the library, a line for each item, and whether it all can fail.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "what UniFFI's metadata has beyond this, the library does not use"
)]

use std::collections::BTreeSet;
use std::error::Error;

use uniffi_bindgen::{BindgenLoader, BindgenPaths, GlobalConfig};
use uniffi_meta::{FieldMetadata, FnParamMetadata, Metadata, Type};

/// Every item of a library, in order.
///
/// Fails where a call has no error type: a panic in it would end an app, or never be told. Fails
/// where a foreign method is not async: what it throws beyond an exception would arrive as a value.
pub(crate) fn of(library: &str) -> Result<String, Box<dyn Error>> {
    let loader = BindgenLoader::new(BindgenPaths::default(), GlobalConfig::default());
    let mut lines = BTreeSet::new();
    let mut faults = Vec::new();
    for group in loader.load_metadata(library.into())?.into_values() {
        for item in &group.items {
            lines.extend(shown(item));
            faults.extend(fault(item));
        }
    }
    if lines.is_empty() {
        return Err("the library has no metadata: is it stripped?".into());
    }
    if !faults.is_empty() {
        return Err(faults.join("\n").into());
    }
    let lines: Vec<String> = lines.into_iter().collect();
    Ok(lines.join("\n") + "\n")
}

fn fault(item: &Metadata) -> Option<String> {
    let (name, throws) = match item {
        Metadata::Func(it) => (it.name.clone(), &it.throws),
        Metadata::Constructor(it) => (format!("{}.{}", it.self_name, it.name), &it.throws),
        Metadata::Method(it) => (format!("{}.{}", it.self_name, it.name), &it.throws),
        Metadata::TraitMethod(it) => {
            let name = format!("{}.{}", it.trait_name, it.name);
            if !it.is_async {
                return Some(format!("{name} is a foreign method that is not async"));
            }
            (name, &it.throws)
        }
        _ => return None,
    };
    let can_fail = throws.is_some();
    (!can_fail).then(|| format!("{name} has no error type"))
}

fn shown(item: &Metadata) -> Vec<String> {
    match item {
        Metadata::Func(it) => vec![call(
            &it.name,
            it.is_async,
            &it.inputs,
            it.return_type.as_ref(),
        )],
        Metadata::Constructor(it) => {
            let name = format!("{}.{}", it.self_name, it.name);
            vec![call(&name, it.is_async, &it.inputs, None)]
        }
        Metadata::Method(it) => {
            let name = format!("{}.{}", it.self_name, it.name);
            vec![call(
                &name,
                it.is_async,
                &it.inputs,
                it.return_type.as_ref(),
            )]
        }
        Metadata::TraitMethod(it) => {
            let name = format!("foreign {}.{}", it.trait_name, it.name);
            vec![call(
                &name,
                it.is_async,
                &it.inputs,
                it.return_type.as_ref(),
            )]
        }
        Metadata::Record(it) => {
            let all = it.fields.iter();
            all.map(|f| format!("{}.{}: {}", it.name, f.name, ty(&f.ty)))
                .collect()
        }
        Metadata::Enum(it) => {
            let all = it.variants.iter();
            all.map(|v| format!("{}::{}{}", it.name, v.name, fields(&v.fields)))
                .collect()
        }
        Metadata::Object(it) => vec![format!("object {}", it.name)],
        _ => Vec::new(),
    }
}

fn call(name: &str, is_async: bool, inputs: &[FnParamMetadata], output: Option<&Type>) -> String {
    let inputs: Vec<String> = inputs
        .iter()
        .map(|input| format!("{}: {}", input.name, ty(&input.ty)))
        .collect();
    let output = output.map_or_else(String::new, |output| format!(" -> {}", ty(output)));
    let how = if is_async { " async" } else { "" };
    format!("{name}({}){how}{output}", inputs.join(", "))
}

fn fields(fields: &[FieldMetadata]) -> String {
    let all: Vec<String> = fields
        .iter()
        .map(|field| format!("{}: {}", field.name, ty(&field.ty)))
        .collect();
    if all.is_empty() {
        return String::new();
    }
    format!(" {{ {} }}", all.join(", "))
}

fn ty(of: &Type) -> String {
    match of {
        Type::Object { name, .. }
        | Type::Record { name, .. }
        | Type::Enum { name, .. }
        | Type::CallbackInterface { name, .. }
        | Type::Custom { name, .. } => name.clone(),
        Type::Box { inner_type } => ty(inner_type),
        Type::Optional { inner_type } => format!("{}?", ty(inner_type)),
        Type::Sequence { inner_type } => format!("[{}]", ty(inner_type)),
        Type::Set { inner_type } => format!("set of {}", ty(inner_type)),
        Type::Map {
            key_type,
            value_type,
        } => format!("[{}: {}]", ty(key_type), ty(value_type)),
        simple => format!("{simple:?}"),
    }
}
