//! `rotate`: a new key seals what is in the store, and the old ones go.

use std::error::Error;

use mfagate::enrol::Registrar;
use serde_json::json;

use crate::output::Output;
use crate::settings::Settings;

/// Wherever this is broken off, the ring in its file opens all that is in the store, and doing it
/// again brings it to its end: the new key is in the file before it seals anything, and the old
/// ones are until they seal nothing.
pub(crate) async fn rotate(settings: &Settings, output: Output) -> Result<(), Box<dyn Error>> {
    let (_alone, ring) = settings.ring_alone()?;
    let path = settings.ring_file();
    let ring = ring.rotated()?;
    ring.replace(&path)?;
    let registrar = Registrar::new(settings.store()?, ring.clone(), settings.clock());
    let rotated = registrar
        .rotate(std::slice::from_ref(&settings.location))
        .await?;
    let key = ring.active().clone();
    ring.without_older().replace(&path)?;
    let line = json!({
        "type": "rotated",
        "key": key,
        "factors": rotated.factors,
        "sessions": rotated.sessions,
    });
    let text = format!(
        "Key {key} seals now. Sealed with it: {} factors, {} sessions. Keep a copy of {} with the backups of the store.",
        rotated.factors,
        rotated.sessions,
        path.display()
    );
    output.say(text, &line);
    Ok(())
}
