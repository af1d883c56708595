//! Who is told, as it is configured: the same form in the controller's file and in that of
//! `weir standalone`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use weir_audit::Severity;
use weir_fetch::EndpointError;

use crate::email::{Email, EmailConfig, EmailTls};
use crate::receiver::Receiver;
use crate::slack::interact::{Decider, Interactions, SlackPerson};
use crate::slack::{Slack, SlackConfig, SlackPost};
use crate::webhook::{Webhook, WebhookConfig};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{at}: {why}")]
pub struct ConfigError {
    at: &'static str,
    why: String,
}

/// Who is told, and of what.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Notifications {
    webhook: Option<WebhookSettings>,
    slack: Option<SlackSettings>,
    email: Option<EmailSettings>,
    findings: FindingSettings,
    #[serde(rename = "uiURL")]
    ui_url: Option<String>,
}

/// A webhook of the Standard Webhooks specification.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WebhookSettings {
    url: String,
    key_file: PathBuf,
    #[serde(default)]
    ca_file: Option<PathBuf>,
    #[serde(default, rename = "allowHTTP")]
    allow_http: bool,
}

/// Slack: by a webhook, or by a bot.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct SlackSettings {
    #[serde(rename = "webhookURLFile")]
    webhook_url_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
    channel: Option<String>,
    #[serde(rename = "apiURL")]
    api_url: Option<String>,
    signing_secret_file: Option<PathBuf>,
    people: Vec<SlackPerson>,
    ca_file: Option<PathBuf>,
    #[serde(rename = "allowHTTP")]
    allow_http: bool,
}

/// Mail.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EmailSettings {
    host: String,
    #[serde(default)]
    port: Option<u16>,
    #[serde(default)]
    tls: EmailTls,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password_file: Option<PathBuf>,
    #[serde(default)]
    ca_file: Option<PathBuf>,
    from: String,
    to: Vec<String>,
}

/// Of which findings people are told.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct FindingSettings {
    minimum: Severity,
}

impl Default for FindingSettings {
    fn default() -> Self {
        Self {
            minimum: Severity::Medium,
        }
    }
}

impl Notifications {
    /// Makes its paths relative to `base`.
    pub fn rebase(&mut self, base: &Path) {
        let rebase = |path: &mut PathBuf| *path = base.join(&*path);
        if let Some(webhook) = &mut self.webhook {
            rebase(&mut webhook.key_file);
            webhook.ca_file.iter_mut().for_each(rebase);
        }
        if let Some(slack) = &mut self.slack {
            let files = [
                &mut slack.webhook_url_file,
                &mut slack.token_file,
                &mut slack.signing_secret_file,
                &mut slack.ca_file,
            ];
            files.into_iter().flatten().for_each(rebase);
        }
        if let Some(email) = &mut self.email {
            let files = [&mut email.password_file, &mut email.ca_file];
            files.into_iter().flatten().for_each(rebase);
        }
    }

    /// The receivers, in a fixed order.
    ///
    /// # Errors
    /// When one of them cannot be.
    pub fn receivers(&self) -> Result<Vec<Receiver>, ConfigError> {
        let mut receivers = Vec::new();
        if let Some(webhook) = &self.webhook {
            let config = WebhookConfig {
                url: webhook.url.clone(),
                key_file: webhook.key_file.clone(),
                ca_file: webhook.ca_file.clone(),
                allow_http: webhook.allow_http,
            };
            let webhook = Webhook::new(config).map_err(at("notifications.webhook.url"))?;
            receivers.push(Receiver::Webhook(webhook));
        }
        if let Some(slack) = &self.slack {
            let slack = Slack::new(self.slack(slack)?).map_err(at("notifications.slack.apiURL"))?;
            receivers.push(Receiver::Slack(slack));
        }
        if let Some(email) = &self.email {
            let email = Email::new(self.email(email)?).map_err(|why| ConfigError {
                at: "notifications.email",
                why,
            })?;
            receivers.push(Receiver::Email(email));
        }
        Ok(receivers)
    }

    /// Slack's buttons, if there are any.
    ///
    /// # Errors
    /// When they cannot be.
    pub fn interactions(
        &self,
        decider: impl FnOnce() -> Arc<dyn Decider>,
    ) -> Result<Option<Arc<Interactions>>, ConfigError> {
        let Some(slack) = &self.slack else {
            return Ok(None);
        };
        let Some(secret_file) = &slack.signing_secret_file else {
            return Ok(None);
        };
        let config = self.slack(slack)?;
        let (secret, people) = (secret_file.clone(), slack.people.clone());
        let interactions = Interactions::new(config, secret, people, decider());
        let interactions = interactions.map_err(at("notifications.slack.apiURL"))?;
        Ok(Some(Arc::new(interactions)))
    }

    /// Whether anybody is told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.webhook.is_none() && self.slack.is_none() && self.email.is_none()
    }

    /// Findings that matter less are not told.
    #[must_use]
    pub fn minimum(&self) -> Severity {
        self.findings.minimum
    }

    fn ui(&self) -> Result<Option<String>, ConfigError> {
        let Some(url) = &self.ui_url else {
            return Ok(None);
        };
        // The link is opened by people: plain HTTP is theirs to decide, a login in it is not.
        let https = url.replacen("http://", "https://", 1);
        weir_fetch::Endpoint::parse(&https, false).map_err(at("notifications.uiURL"))?;
        Ok(Some(url.trim_end_matches('/').to_owned()))
    }

    fn slack(&self, slack: &SlackSettings) -> Result<SlackConfig, ConfigError> {
        let wrong = |why: &str| ConfigError {
            at: "notifications.slack",
            why: why.to_owned(),
        };
        let post = match (&slack.webhook_url_file, &slack.token_file, &slack.channel) {
            (Some(url_file), None, None) if slack.api_url.is_none() => SlackPost::Webhook {
                url_file: url_file.clone(),
            },
            (None, Some(token_file), Some(channel)) => SlackPost::Bot {
                token_file: token_file.clone(),
                channel: channel.clone(),
                api_url: slack.api_url.clone(),
            },
            _ => {
                return Err(wrong(
                    "give either webhookURLFile alone, or tokenFile and channel",
                ));
            }
        };
        if slack.signing_secret_file.is_none() && !slack.people.is_empty() {
            return Err(wrong("people can decide only with a signingSecretFile"));
        }
        let mut ids: Vec<&str> = slack.people.iter().map(|one| one.slack.as_str()).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(wrong("people: one user of Slack is one person"));
        }
        let nobody = |one: &SlackPerson| one.slack.is_empty() || one.user.is_empty();
        if slack.people.iter().any(nobody) {
            return Err(wrong("people: slack and user are needed"));
        }
        Ok(SlackConfig {
            post,
            buttons: slack.signing_secret_file.is_some(),
            ca_file: slack.ca_file.clone(),
            allow_http: slack.allow_http,
            ui_url: self.ui()?,
        })
    }

    fn email(&self, email: &EmailSettings) -> Result<EmailConfig, ConfigError> {
        let login = match (&email.username, &email.password_file) {
            (Some(user), Some(file)) => Some((user.clone(), file.clone())),
            (None, None) => None,
            _ => {
                return Err(ConfigError {
                    at: "notifications.email",
                    why: "username and passwordFile go together".to_owned(),
                });
            }
        };
        Ok(EmailConfig {
            host: email.host.clone(),
            port: email.port.unwrap_or(match email.tls {
                EmailTls::Starttls => 587,
                EmailTls::Implicit => 465,
            }),
            tls: email.tls,
            login,
            ca_file: email.ca_file.clone(),
            from: email.from.clone(),
            to: email.to.clone(),
            ui_url: self.ui()?,
        })
    }
}

fn at(at: &'static str) -> impl Fn(EndpointError) -> ConfigError {
    move |error| ConfigError {
        at,
        why: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::receiver::Channel;

    fn check(config: Value) -> Result<Vec<Channel>, String> {
        let config: Notifications = serde_json::from_value(config).map_err(|e| e.to_string())?;
        let receivers = config.receivers().map_err(|error| error.to_string())?;
        Ok(receivers.iter().map(Receiver::channel).collect())
    }

    #[test]
    fn several_receivers_are_told_at_once() {
        let all = json!({
            "uiURL": "http://weir.example/",
            "webhook": {"url": "https://hooks.example/x", "keyFile": "key"},
            "slack": {"tokenFile": "token", "channel": "#holds", "signingSecretFile": "s",
                "people": [{"slack": "U1", "user": "jane@example", "groups": ["stewards"]}]},
            "email": {"host": "mail.example", "from": "weir@example.org", "to": ["a@example.org"]},
            "findings": {"minimum": "high"},
        });
        let channels = [Channel::Webhook, Channel::Slack, Channel::Email];
        assert_eq!(check(all.clone()).unwrap(), channels);
        let mut config: Notifications = serde_json::from_value(all).unwrap();
        assert_eq!(config.minimum(), Severity::High);
        assert_eq!(config.ui().unwrap().as_deref(), Some("http://weir.example"));
        config.rebase(Path::new("/etc/weir"));
        let slack = config.slack.unwrap();
        assert_eq!(slack.token_file, Some(PathBuf::from("/etc/weir/token")));
        assert_eq!(check(json!({})).unwrap(), []);
    }

    #[test]
    fn what_cannot_work_is_refused_at_the_start() {
        let slack = |slack: Value| check(json!({"slack": slack}));
        let email = |more: Value| {
            let mut email =
                json!({"host": "m.example", "from": "w@example.org", "to": ["a@example.org"]});
            let fields = more.as_object().unwrap().clone();
            email.as_object_mut().unwrap().extend(fields);
            check(json!({ "email": email }))
        };
        let person = |id: &str| json!({"slack": id, "user": "jane"});
        let wrong = [
            slack(json!({})),
            slack(json!({"tokenFile": "t"})),
            slack(json!({"tokenFile": "t", "channel": "c", "webhookURLFile": "u"})),
            slack(json!({"webhookURLFile": "u", "people": [person("U1")]})),
            slack(json!({"webhookURLFile": "u", "signingSecretFile": "s",
                "people": [person("U1"), person("U2"), person("U1")]})),
            slack(json!({"webhookURLFile": "u", "signingSecretFile": "s", "people": [person("")]})),
            slack(json!({"tokenFile": "t", "channel": "c", "apiURL": "http://127.0.0.1/api"})),
            email(json!({"username": "u"})),
            email(json!({"tls": "none"})),
            email(json!({"to": []})),
            email(json!({"from": "weir"})),
            check(json!({"findings": {"minimum": "urgent"}})),
            check(json!({"sms": {}})),
            check(json!({"uiURL": "ftp://x", "slack": {"webhookURLFile": "u"}})),
            check(json!({"uiURL": "https://a:b@weir.example", "slack": {"webhookURLFile": "u"}})),
        ];
        for (at, one) in wrong.iter().enumerate() {
            assert!(one.is_err(), "{at}: {one:?}");
        }
        assert!(slack(json!({"webhookURLFile": "u"})).is_ok());
        assert!(email(json!({"tls": "implicit", "username": "u", "passwordFile": "p"})).is_ok());
    }
}
