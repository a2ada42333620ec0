//! What an operator may configure.

use super::*;
use std::time::Duration;

fn provider() -> OidcProvider {
    OidcProvider::new("https://id.example.com", "mfagate").unwrap()
}

#[test]
fn an_issuer_is_an_https_address_as_it_is_written() {
    for good in [
        "https://id.example.com",
        "https://id.example.com/",
        "https://id.example.com:8443/realms/staff",
    ] {
        assert!(OidcProvider::new(good, "mfagate").is_ok(), "{good}");
    }
    for bad in [
        "",
        "id.example.com",
        "http://id.example.com",
        "http://127.0.0.1:8080",
        "https://id.example.com?a=b",
        "https://id.example.com#a",
        "https://user:pw@id.example.com",
        "https://ID.example.com",
        "https://id.example.com/a/../b",
        "https://id.example.com:443/a",
        "file:///etc/passwd",
    ] {
        let refused = OidcProvider::new(bad, "mfagate").unwrap_err();
        assert_eq!(refused, InvalidProvider(SettingFault::Issuer), "{bad}");
    }
    for bad in [
        "http://id.example.com",
        "https://127.0.0.1",
        "http://10.0.0.1",
    ] {
        let refused = OidcProvider::dangerously_without_tls(bad, "mfagate").unwrap_err();
        assert_eq!(refused, InvalidProvider(SettingFault::NotLocal), "{bad}");
    }
    assert_eq!(
        OidcProvider::new("https://id.example.com", "").unwrap_err(),
        InvalidProvider(SettingFault::ClientId)
    );
}

#[test]
fn a_redirect_goes_to_the_device_or_to_an_app() {
    for good in ["/", "/callback", "/a/b-c_d~e"] {
        let path = good.to_owned();
        assert!(
            provider().redirect(Redirect::Loopback { path }).is_ok(),
            "{good}"
        );
    }
    for bad in [
        "",
        "callback",
        "//evil.example",
        "/a?b",
        "/a#b",
        "/a b",
        "/a/../b",
        "/\\evil",
    ] {
        let path = bad.to_owned();
        let refused = provider()
            .redirect(Redirect::Loopback { path })
            .unwrap_err();
        assert_eq!(
            refused,
            InvalidProvider(SettingFault::RedirectPath),
            "{bad}"
        );
    }
    for good in [
        "com.example.app:/callback",
        "https://app.example.com/callback",
        "http://127.0.0.1:8400/callback",
        "http://localhost:8400/callback",
    ] {
        let uri = good.to_owned();
        assert!(
            provider().redirect(Redirect::Exact { uri }).is_ok(),
            "{good}"
        );
    }
    for bad in [
        "",
        "myapp:/callback",
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///tmp/x",
        "http://app.example.com/callback",
        "https://app.example.com/callback#a",
        "https://app.example.com/callback?a",
        "https://user@app.example.com/callback",
    ] {
        let uri = bad.to_owned();
        let refused = provider().redirect(Redirect::Exact { uri }).unwrap_err();
        assert_eq!(refused, InvalidProvider(SettingFault::RedirectUri), "{bad}");
    }
}

#[test]
fn what_could_not_work_is_refused() {
    let secret = |bytes: &[u8]| provider().client_secret(SecretBytes::new(bytes.to_vec()));
    assert_eq!(
        secret(b"").unwrap_err(),
        InvalidProvider(SettingFault::ClientSecret)
    );
    assert_eq!(
        secret(&[0xff]).unwrap_err(),
        InvalidProvider(SettingFault::ClientSecret)
    );
    assert!(secret(b"hunter2").is_ok());
    let year = Duration::from_secs(365 * 86_400);
    assert_eq!(
        provider().max_age(year).unwrap_err(),
        InvalidProvider(SettingFault::MaxAge)
    );
    for bad in ["", "two words", "line\n"] {
        assert_eq!(
            provider().scope(bad).unwrap_err(),
            InvalidProvider(SettingFault::Word),
            "{bad:?}"
        );
        assert_eq!(
            provider().require_acr(bad).unwrap_err(),
            InvalidProvider(SettingFault::Word)
        );
        let amr = provider().amr_proves(bad, Vouched::UserVerified);
        assert_eq!(amr.unwrap_err(), InvalidProvider(SettingFault::Word));
    }
    assert_eq!(
        OidcVerifier::new([]).unwrap_err(),
        InvalidProvider(SettingFault::NoProvider)
    );
    assert_eq!(
        OidcVerifier::new([provider()]).unwrap_err(),
        InvalidProvider(SettingFault::NoWay)
    );
    let twice = [provider().device_grant(), provider().workloads()];
    assert_eq!(
        OidcVerifier::new(twice).unwrap_err(),
        InvalidProvider(SettingFault::Twice)
    );
}

#[test]
fn the_presets_are_the_issuers_that_the_providers_are() {
    let tenant = "8eaef023-2b34-4da1-9baa-8bc8c9d6a490";
    for (provider, issuer) in [
        (OidcProvider::google("x"), "https://accounts.google.com"),
        (
            OidcProvider::microsoft(tenant, "x"),
            "https://login.microsoftonline.com/8eaef023-2b34-4da1-9baa-8bc8c9d6a490/v2.0",
        ),
        (
            OidcProvider::okta("example.okta.com/oauth2/default", "x"),
            "https://example.okta.com/oauth2/default",
        ),
        (
            OidcProvider::jumpcloud("x"),
            "https://oauth.id.jumpcloud.com/",
        ),
        (
            OidcProvider::keycloak("https://id.example.com/", "staff", "x"),
            "https://id.example.com/realms/staff",
        ),
    ] {
        assert_eq!(provider.unwrap().issuer, issuer);
    }
    for tenant in ["common", "organizations", "consumers", "", "8eaef023-2b34"] {
        let refused = OidcProvider::microsoft(tenant, "x").unwrap_err();
        assert_eq!(refused, InvalidProvider(SettingFault::Tenant), "{tenant}");
    }
}

#[test]
fn a_secret_is_not_printed() {
    let provider = provider().client_secret(SecretBytes::new(b"hunter2hunter2".to_vec()));
    let shown = format!(
        "{:?}",
        OidcVerifier::new([provider.unwrap().workloads()]).unwrap()
    );
    assert!(!shown.contains("hunter2"), "{shown}");
}
