//! Logins at an OpenID provider through both programs: in a browser, on another device, and by a
//! workload's token.

use std::os::unix::fs::PermissionsExt;

use tokio::runtime::Runtime;

use crate::factors::{enrolling, reaches_the_page, site, token};
use crate::json_client::connect_with;
use crate::oidc_provider::{CLIENT, HostileProvider};
use crate::site::{Running, Site};

/// A provider on this machine, and the browsers that go there.
struct Provider {
    runtime: Runtime,
    provider: HostileProvider,
}

impl Provider {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let provider = runtime.block_on(HostileProvider::start(now()));
        Self { runtime, provider }
    }

    /// A site where a login at this provider is asked for.
    fn site(&self) -> Site {
        let site = site("[{ any_of = [\"oidc\"] }]");
        let issuer = self.provider.issuer();
        site.configure(|text| {
            format!(
                "{text}[[factors.oidc]]\nat = {{ danger-without-tls = \"{issuer}\" }}\n\
                 client_id = \"{CLIENT}\"\nloopback = \"/callback\"\ndevice_grant = true\n\
                 workloads = true\n"
            )
        });
        site
    }

    /// A browser opens what a program shows, logs in as this user, and goes where it is sent.
    fn browse(&self, shown: &mut Running, user: &str) {
        let url = shown.wait_for("http");
        self.runtime.block_on(async {
            let query = self.provider.browse_as(user, url.trim()).await;
            let url = url::Url::parse(url.trim()).unwrap();
            let mut parameters = url.query_pairs();
            let (_, back) = parameters.find(|(name, _)| name == "redirect_uri").unwrap();
            let page = reqwest::get(format!("{back}?{query}")).await.unwrap();
            assert!(page.text().await.unwrap().contains("close this window"));
        });
    }
}

/// Seconds since 1970, by the clock that both programs go by.
fn now() -> u64 {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    now.as_secs()
}

fn bind(site: &Site, provider: &Provider, what: &str, who: &str) {
    let issuer = provider.provider.issuer();
    let add = ["factor", "add-oidc", "--user", "alice", "--issuer", &issuer];
    site.admin(&[add.as_slice(), &[what, who]].concat());
}

#[test]
fn a_browser_login_gets_in_and_another_persons_does_not() {
    let provider = Provider::start();
    let site = provider.site();
    let _gate = site.run();
    let once = token(&site, "oidc");
    let mut enrolled = enrolling(&site, "oidc", &once, &[]);
    provider.browse(&mut enrolled, "alice-at-provider");
    enrolled.wait_for("Enrolled");
    assert_eq!(enrolled.status(), Some(0));

    let mut connect = connect_with(&site, &[]);
    provider.browse(&mut connect, "mallory-at-provider");
    connect.enter(""); // once more
    provider.browse(&mut connect, "alice-at-provider");
    reaches_the_page(&mut connect);
    let audit = site.admin(&["audit", "export"]);
    assert_eq!(audit.matches("\"denied\"").count(), 1, "{audit}");
}

#[test]
fn a_login_on_another_device_is_waited_for() {
    let provider = Provider::start();
    let site = provider.site();
    bind(&site, &provider, "--subject", "alice-at-provider");
    provider.provider.acts().polls = vec!["authorization_pending", "slow_down"];
    let _gate = site.run();
    let mut connect = connect_with(&site, &["--no-browser"]);
    let shown = connect.wait_for("On another device");
    assert!(shown.contains("WDJB-MJHT"), "{shown}");
    reaches_the_page(&mut connect);
}

#[test]
fn a_workload_brings_a_token_that_was_made_for_the_attempt() {
    let provider = Provider::start();
    let site = provider.site();
    bind(&site, &provider, "--workload", "alice-at-provider");
    let path = site.path();
    // A metadata service that takes its time.
    let program = path.join("id-token");
    let script = format!(
        "#!/bin/sh\ncd {}\nprintf %s \"$1\" > asked.part && mv asked.part asked\n\
         while [ ! -e token ]; do sleep 0.1; done\ncat token\n",
        path.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let _gate = site.run();
    let program = program.to_str().unwrap();
    let mut connect = connect_with(&site, &["--id-token-command", program]);
    let audience = loop {
        match std::fs::read_to_string(path.join("asked")) {
            Ok(audience) => break audience,
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(20)),
        }
    };
    let token = provider.provider.workload_token(&audience, None);
    std::fs::write(path.join("token.part"), token).unwrap();
    std::fs::rename(path.join("token.part"), path.join("token")).unwrap();
    reaches_the_page(&mut connect);
}

#[test]
fn a_provider_that_can_not_work_is_refused_at_the_start() {
    let site = site("[{ any_of = [\"oidc\"] }]");
    for (bad, why) in [
        ("at = { issuer = \"http://id.example.com\" }", "https"),
        (
            "at = { danger-without-tls = \"http://id.example.com\" }",
            "this machine",
        ),
        (
            "at = { issuer = \"https://id.example.com\" }",
            "no one could log in",
        ),
    ] {
        let section = format!("[[factors.oidc]]\n{bad}\nclient_id = \"mfagate\"\n");
        let text = std::fs::read_to_string(site.path().join("gate.toml")).unwrap();
        site.configure(|text| text + &section);
        let refused = site.refused(&["run"]);
        assert!(refused.contains(why), "{refused}");
        std::fs::write(site.path().join("gate.toml"), text).unwrap();
    }
}
