//! The audit trail: checked, or written out.

use std::error::Error;
use std::io::ErrorKind;

use clap::Subcommand;
use mfagate::audit::{Head, Verifier, write_jsonl};
use mfagate::store::PeerStore;

use crate::settings::Settings;

const PAGE: usize = 1000;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Check that no record was changed, and print where the chain ends.
    Verify {
        /// Where the chain ended earlier, as `verify` printed it then: shows whether records
        /// were cut off or the whole chain was replaced.
        #[arg(long, value_name = "SEQ:HASH")]
        head: Option<Head>,
    },
    /// Print the records as lines of JSON.
    Export,
}

pub(crate) async fn audit(
    settings: &Settings,
    command: AuditCommand,
) -> Result<(), Box<dyn Error>> {
    match command {
        AuditCommand::Verify { head } => verify(settings, head).await,
        AuditCommand::Export => export(settings).await,
    }
}

async fn verify(settings: &Settings, known: Option<Head>) -> Result<(), Box<dyn Error>> {
    let store = settings.store()?;
    let mut verifier = Verifier::new();
    let mut is_met = known.is_none_or(|known| known == Head::EMPTY);
    loop {
        let records = store.audit(verifier.head().seq + 1, PAGE).await?;
        if records.is_empty() {
            break;
        }
        for record in &records {
            verifier.check(record)?;
            is_met |= Some(verifier.head()) == known;
        }
    }
    let head = verifier.head();
    if !is_met {
        return Err(format!(
            "the chain ends at {head} and never was at the head that you gave: records were cut off or the chain was replaced"
        )
        .into());
    }
    println!(
        "The chain of {} records is whole. Keep its head elsewhere: {head}",
        head.seq
    );
    Ok(())
}

async fn export(settings: &Settings) -> Result<(), Box<dyn Error>> {
    let store = settings.store()?;
    let mut from = 1;
    loop {
        let records = store.audit(from, PAGE).await?;
        let Some(last) = records.last() else {
            return Ok(());
        };
        from = last.seq + 1;
        match write_jsonl(std::io::stdout().lock(), &records) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            outcome => outcome?,
        }
    }
}
