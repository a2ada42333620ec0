//! Codes over SMTP, to a real server: Debian's aiosmtpd.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use mfagate::channel::message::{Code, SecretString};
use mfagate::code::ErrorCode;
use mfagate::factor::email_code::{
    CodeSender, EmailAddress, Letter, Occasion, SendError, SmtpBuilder, SmtpSender,
};
use mfagate::testing::SecretWatch;

#[path = "support/mail.rs"]
mod mail;

use mail::{MailServer, Security, parrot, silent_server};

fn address(text: &str) -> EmailAddress {
    text.parse().expect("an address")
}

/// A sender to the server, by its name, which its certificate is for.
fn builder(server: &MailServer) -> SmtpBuilder {
    let certificate = std::fs::read(server.certificate()).expect("a certificate");
    SmtpSender::builder("localhost", address("gate@example.com"))
        .port(server.at.port())
        .root_certificate(&certificate)
}

fn plain(port: u16) -> SmtpSender {
    SmtpSender::builder("127.0.0.1", address("gate@example.com"))
        .port(port)
        .danger_plaintext_to_loopback()
        .build()
        .expect("a sender")
}

async fn send(sender: &SmtpSender, to: &str) -> Result<(), SendError> {
    let (to, code) = (address(to), "01234567".parse::<Code>().expect("digits"));
    let location = "office".parse().expect("a name");
    let user = "alice".parse().expect("a name");
    let letter = Letter::new(
        &to,
        &code,
        Occasion::SignIn,
        (&location, &user),
        Duration::from_secs(290),
        mfagate::time::Timestamp::from_millis(1_800_000_000_000),
    );
    sender.send(&letter).await
}

fn whole(error: &dyn Error) -> String {
    let source = error.source().map(whole).unwrap_or_default();
    format!("{error} {error:?} {source}")
}

#[tokio::test]
async fn a_letter_arrives_over_tls_from_the_first_byte_and_by_starttls() {
    for security in [Security::Implicit, Security::StartTls] {
        let server = MailServer::start(security);
        let sender = match security {
            Security::StartTls => builder(&server).starttls(),
            Security::Implicit | Security::None => builder(&server),
        };
        let sender = sender.build().expect("a sender");
        send(&sender, "alice@example.org")
            .await
            .expect("it is sent");
        let letter = server.letter();
        assert!(letter.is_encrypted(), "{letter:?}");
        assert_eq!(letter.to(), "alice@example.org");
        assert_eq!(letter.from(), "gate@example.com");
        assert_eq!(letter.code(), "01234567");
        for part in [
            "Subject: Your code for office\r\n",
            "Date: Fri, 15 Jan 2027 08:00:00 +0000\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "as alice",
            "for 5 minutes",
        ] {
            assert!(letter.text().contains(part), "{part}: {letter:?}");
        }
        assert!(!letter.is_from_a_user());
        assert!(server.is_empty());
    }
}

#[tokio::test]
async fn credentials_go_over_tls_and_wrong_ones_are_refused() {
    let server = MailServer::start(Security::StartTls);
    for (password, is_right) in [("open sesame", true), ("open barley", false)] {
        let password = SecretString::new(password.to_owned()).expect("short");
        let sender = builder(&server).starttls().credentials("alice", password);
        let sender = sender.build().expect("a sender");
        let sent = send(&sender, "alice@example.org").await;
        if is_right {
            sent.expect("it is sent");
            assert!(server.letter().is_from_a_user());
        } else {
            assert!(
                matches!(sent, Err(SendError::Refused { status: 535 })),
                "{sent:?}"
            );
        }
    }
}

#[tokio::test]
async fn without_tls_nothing_is_sent_unless_it_stays_on_this_machine() {
    let server = MailServer::start(Security::None);
    let certificate = MailServer::start(Security::Implicit);
    let trusted = std::fs::read(certificate.certificate()).expect("a certificate");
    let builder = || {
        SmtpSender::builder("localhost", address("gate@example.com"))
            .port(server.at.port())
            .root_certificate(&trusted)
            .within(Duration::from_secs(3))
    };
    let by_starttls = builder().starttls().build().expect("a sender");
    let sent = send(&by_starttls, "alice@example.org").await;
    assert!(matches!(sent, Err(SendError::Tls)), "{sent:?}");
    let implicit = builder().build().expect("a sender");
    assert!(send(&implicit, "alice@example.org").await.is_err());
    assert!(server.is_empty());

    send(&plain(server.at.port()), "alice@example.org")
        .await
        .expect("it is sent");
    assert!(!server.letter().is_encrypted());
    for elsewhere in ["192.0.2.1", "localhost", "smtp.example.com"] {
        let sender = SmtpSender::builder(elsewhere, address("gate@example.com"))
            .danger_plaintext_to_loopback();
        let refused = sender.build().map(drop).unwrap_err();
        assert_eq!(refused.code(), "smtp-not-loopback", "{elsewhere}");
    }
    let password = SecretString::new("open sesame".to_owned()).expect("short");
    let sender = SmtpSender::builder("127.0.0.1", address("gate@example.com"))
        .danger_plaintext_to_loopback()
        .credentials("alice", password);
    let refused = sender.build().map(drop).unwrap_err();
    assert_eq!(refused.code(), "smtp-password-in-the-clear");
}

#[tokio::test]
async fn a_certificate_of_somebody_else_is_not_trusted() {
    let (server, other) = (
        MailServer::start(Security::Implicit),
        MailServer::start(Security::Implicit),
    );
    let trusted = std::fs::read(other.certificate()).expect("a certificate");
    let strangers = SmtpSender::builder("localhost", address("gate@example.com"))
        .port(server.at.port())
        .root_certificate(&trusted);
    let strangers = strangers.build().expect("a sender");
    assert!(send(&strangers, "alice@example.org").await.is_err());
    // By its address: the certificate names only `localhost`.
    let trusted = std::fs::read(server.certificate()).expect("a certificate");
    let by_address = SmtpSender::builder("127.0.0.1", address("gate@example.com"))
        .port(server.at.port())
        .root_certificate(&trusted);
    let by_address = by_address.build().expect("a sender");
    assert!(send(&by_address, "alice@example.org").await.is_err());
    assert!(server.is_empty());
    let unreadable = SmtpSender::builder("localhost", address("gate@example.com"))
        .root_certificate(b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n");
    let refused = unreadable.build().map(drop).unwrap_err();
    assert_eq!(refused.code(), "smtp-certificate");
}

#[tokio::test]
async fn a_fault_names_its_reason_and_neither_code_nor_address() {
    let server = MailServer::start(Security::None);
    let watch = SecretWatch::new();
    watch.secret("the code", "01234567");
    watch.secret("the address", "nobody@example.org");
    let refused = send(&plain(server.at.port()), "nobody@example.org").await;
    assert!(
        matches!(refused, Err(SendError::Undeliverable)),
        "{refused:?}"
    );
    let full = parrot("452 4.3.1 no space left\r\n");
    let full = send(&plain(full.port()), "nobody@example.org").await;
    assert!(
        matches!(full, Err(SendError::Refused { status: 452 })),
        "{full:?}"
    );
    let nonsense = parrot("nobody@example.org 01234567\r\n");
    let nonsense = send(&plain(nonsense.port()), "nobody@example.org").await;
    assert!(
        matches!(nonsense, Err(SendError::Unreachable)),
        "{nonsense:?}"
    );
    let closed = send(&plain(1), "nobody@example.org").await;
    assert!(matches!(closed, Err(SendError::Unreachable)), "{closed:?}");
    for failed in [refused, full, nonsense, closed] {
        let error = failed.expect_err("it failed");
        let said = whole(&error);
        assert!(!said.contains("01234567"), "{said}");
        assert!(!said.contains("nobody"), "{said}");
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_waited_for_so_long_and_no_longer() {
    let (silent, _taken) = silent_server();
    let sender = SmtpSender::builder("127.0.0.1", address("gate@example.com"))
        .port(silent.port())
        .danger_plaintext_to_loopback()
        .within(Duration::from_millis(200))
        .build();
    let sent = send(&sender.expect("a sender"), "alice@example.org").await;
    assert!(matches!(sent, Err(SendError::TimedOut)), "{sent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_is_not_taken_holds_up_no_other() {
    let server = MailServer::start(Security::None);
    let sender = Arc::new(plain(server.at.port()));
    let slow: Vec<_> = (0..20)
        .map(|_| {
            let sender = Arc::clone(&sender);
            tokio::spawn(async move { send(&sender, "slow@example.org").await })
        })
        .collect();
    send(&sender, "alice@example.org")
        .await
        .expect("it is sent");
    assert_eq!(server.letter().to(), "alice@example.org");
    for slow in slow {
        assert!(!slow.is_finished());
        slow.abort();
    }
}
