//! Providers whose ways are known. Each says what it does not vouch for, and what is to be set up
//! there.

use super::config::OidcProvider;
use super::error::{InvalidProvider, SettingFault};
use super::vouching::Vouched;

impl OidcProvider {
    /// Google. It has no `max_age`, and says neither when nor how a user authenticated: so its
    /// logins are [of any age](Self::dangerously_of_any_age), and prove no more than that the user
    /// has the account. Register the client as a *Desktop app*; it gets a secret.
    ///
    /// # Errors
    /// `provider-client-id`.
    pub fn google(client_id: &str) -> Result<Self, InvalidProvider> {
        Ok(Self::new("https://accounts.google.com", client_id)?.dangerously_of_any_age())
    }

    /// Microsoft Entra ID, one tenant by its id. Its subjects are other ones for each client: users
    /// enrol from their client, or are bound by the subject that *this* client sees. Add the
    /// optional claim `auth_time` to the client's ID token, or no one can log in. Its e-mail
    /// addresses are not verified, and its tokens don't say how a user authenticated.
    ///
    /// # Errors
    /// `provider-tenant`, `provider-client-id`.
    pub fn microsoft(tenant: &str, client_id: &str) -> Result<Self, InvalidProvider> {
        let lengths = tenant.split('-').map(str::len);
        let is_id = lengths.eq([8, 4, 4, 4, 12])
            && tenant
                .bytes()
                .all(|byte| byte == b'-' || byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if !is_id {
            return Err(InvalidProvider(SettingFault::Tenant));
        }
        let issuer = format!("https://login.microsoftonline.com/{tenant}/v2.0");
        Self::new(&issuer, client_id)
    }

    /// Okta: the authorisation server of an organisation by its domain, `example.okta.com`, or with
    /// a path, one of its others, `example.okta.com/oauth2/default`. Vouches for more than one
    /// factor by the method `mfa` and the class `urn:okta:loa:2fa:any`, and for resistance to
    /// phishing by the classes `phr` and `phrh`, which are to be
    /// [required](Self::require_acr) to be given.
    ///
    /// # Errors
    /// `provider-issuer`, `provider-client-id`.
    pub fn okta(domain: &str, client_id: &str) -> Result<Self, InvalidProvider> {
        Self::new(&format!("https://{domain}"), client_id)?
            .amr_proves("mfa", Vouched::UserVerified)?
            .acr_proves("urn:okta:loa:2fa:any", Vouched::UserVerified)?
            .acr_proves("phr", Vouched::PhishingResistant)?
            .acr_proves("phrh", Vouched::PhishingResistant)
    }

    /// JumpCloud. It does not document how a user authenticated, so it vouches for nothing here:
    /// say with [`amr_proves`](Self::amr_proves) what your organisation's policy makes of it.
    ///
    /// # Errors
    /// `provider-client-id`.
    pub fn jumpcloud(client_id: &str) -> Result<Self, InvalidProvider> {
        Self::new("https://oauth.id.jumpcloud.com/", client_id)
    }

    /// Keycloak: a realm of the server at an address such as `https://id.example.com`. Its classes
    /// are numbers whose meaning the realm gives them: require the one for a second factor
    /// ([`require_acr`](Self::require_acr)), and say what it proves
    /// ([`acr_proves`](Self::acr_proves)). Its methods are there once the client has the mapper
    /// *Authentication Method Reference (AMR)* and the steps of the login have a reference value:
    /// give `mfa` to the one that comes after another factor. `mfa` vouches for more than one
    /// factor here.
    ///
    /// # Errors
    /// `provider-issuer`, `provider-client-id`.
    pub fn keycloak(server: &str, realm: &str, client_id: &str) -> Result<Self, InvalidProvider> {
        let issuer = format!("{}/realms/{realm}", server.trim_end_matches('/'));
        Self::new(&issuer, client_id)?.amr_proves("mfa", Vouched::UserVerified)
    }
}
