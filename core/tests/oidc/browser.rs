//! A browser without a screen: it follows redirects, keeps cookies, and sends the forms of pages.

use std::collections::BTreeMap;

use reqwest::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use url::Url;

use crate::BACK;

pub(crate) struct Browser {
    client: reqwest::Client,
    cookies: BTreeMap<String, String>,
}

/// Where a browser ends up.
pub(crate) enum Arrived {
    Page(Page),
    /// At the client's redirect, with all that came with it.
    Back(String),
}

pub(crate) struct Page {
    url: Url,
    pub(crate) text: String,
}

impl Browser {
    pub(crate) fn new() -> Self {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            // A form that meets a connection that is being closed would be lost.
            .pool_max_idle_per_host(0)
            .build();
        Self {
            client: client.unwrap(),
            cookies: BTreeMap::new(),
        }
    }

    pub(crate) async fn open(&mut self, url: &str) -> Arrived {
        let url = Url::parse(url).unwrap();
        self.follow(self.client.get(url.clone()), url).await
    }

    /// Sends the page's first form, with these fields filled in.
    pub(crate) async fn submit(&mut self, page: &Page, fields: &[(&str, &str)]) -> Arrived {
        let (action, mut form) = page.form().expect("a page with a form");
        for (name, value) in fields {
            form.insert((*name).to_owned(), (*value).to_owned());
        }
        let url = page.url.join(&action).unwrap();
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let request = self
            .client
            .post(url.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body);
        self.follow(request, url).await
    }

    async fn follow(&mut self, mut request: reqwest::RequestBuilder, mut url: Url) -> Arrived {
        for _ in 0..20 {
            let cookies: Vec<String> = self
                .cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let response = request
                .header(COOKIE, cookies.join("; "))
                .send()
                .await
                .unwrap();
            for cookie in response.headers().get_all(SET_COOKIE) {
                let pair = cookie.to_str().unwrap().split(';').next().unwrap();
                let (name, value) = pair.split_once('=').unwrap();
                if value.is_empty() {
                    self.cookies.remove(name);
                } else {
                    self.cookies.insert(name.to_owned(), value.to_owned());
                }
            }
            let Some(location) = response.headers().get(LOCATION) else {
                let text = response.text().await.unwrap();
                return Arrived::Page(Page { url, text });
            };
            url = url.join(location.to_str().unwrap()).unwrap();
            if url.as_str().starts_with(BACK) {
                return Arrived::Back(url.into());
            }
            request = self.client.get(url.clone());
        }
        panic!("redirects without end")
    }
}

impl Arrived {
    pub(crate) fn page(self) -> Page {
        match self {
            Self::Page(page) => page,
            Self::Back(_) => panic!("the browser is back already"),
        }
    }

    pub(crate) fn back(self) -> String {
        match self {
            Self::Back(address) => address,
            Self::Page(page) => panic!("the browser is at {}: {}", page.url, page.text),
        }
    }
}

impl Page {
    /// Whether the page's first form has this field.
    pub(crate) fn asks_for(&self, field: &str) -> bool {
        let name = format!("name=\"{field}\"");
        self.form_text().is_some_and(|form| form.contains(&name))
    }

    fn form_text(&self) -> Option<&str> {
        let (_, form) = self.text.split_once("<form")?;
        form.split("</form>").next()
    }

    /// The first form: where it goes, and what it sends as it is.
    fn form(&self) -> Option<(String, BTreeMap<String, String>)> {
        let form = self.form_text()?;
        let (head, rest) = form.split_once('>')?;
        let mut fields = BTreeMap::new();
        for input in rest.split("<input").skip(1) {
            let input = input.split('>').next()?;
            let hidden = attribute(input, "type").as_deref() == Some("hidden");
            if let (true, Some(name)) = (hidden, attribute(input, "name")) {
                fields.insert(name, attribute(input, "value").unwrap_or_default());
            }
        }
        Some((attribute(head, "action")?, fields))
    }
}

/// An attribute of a tag, in double quotes.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    let (value, _) = rest.split_once('"')?;
    Some(value.replace("&amp;", "&"))
}
