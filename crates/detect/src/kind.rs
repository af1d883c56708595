//! The kinds of values, by the names that a DataLabel's `detectors` use.

use std::fmt;
use std::str::FromStr;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A kind of sensitive value.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Kind {
            $($(#[$doc])* $variant,)*
        }

        impl Kind {
            /// Every kind there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in policies and events.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// A United States social security number that could have been issued.
    Ssn = "ssn",
    /// A payment card number with a known issuer range and a Luhn digit.
    Card = "pan",
    /// An IBAN of a country that has them, with valid check digits.
    Iban = "iban",
    /// An e-mail address.
    Email = "email",
    /// A telephone number.
    Phone = "phone",
    /// An IPv4 address.
    Ipv4 = "ipv4",
    /// An IPv6 address.
    Ipv6 = "ipv6",
    /// A date that the text beside it calls a date of birth.
    DateOfBirth = "date_of_birth",
    /// An AWS access key id.
    AwsAccessKeyId = "aws_access_key_id",
    /// An AWS secret access key, named by the text beside it.
    AwsSecretKey = "aws_secret_key",
    /// A GitHub token.
    GithubToken = "github_token",
    /// A GitLab token.
    GitlabToken = "gitlab_token",
    /// An npm token.
    NpmToken = "npm_token",
    /// A Slack token.
    SlackToken = "slack_token",
    /// A Stripe secret key.
    StripeKey = "stripe_key",
    /// A Google API key.
    GoogleApiKey = "google_api_key",
    /// Another token with a registered prefix.
    ApiToken = "api_token",
    /// A JSON Web Token, signed or encrypted.
    Jwt = "jwt",
    /// A private key in PEM armour.
    PrivateKey = "private_key",
    /// User and password inside a URL.
    UrlPassword = "url_password",
    /// A password or secret, named by the text beside it.
    Password = "password_assignment",
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A detector name that nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownKind;

impl fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown detector")
    }
}

impl std::error::Error for UnknownKind {}

impl FromStr for Kind {
    type Err = UnknownKind;

    /// Reads a kind's name; `card` is another word for `pan`, `password` for
    /// `password_assignment`.
    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        match name {
            "card" => Ok(Self::Card),
            "password" => Ok(Self::Password),
            name => Self::ALL
                .iter()
                .copied()
                .find(|kind| kind.name() == name)
                .ok_or(UnknownKind),
        }
    }
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KindSet(u32);

impl KindSet {
    /// No kind.
    pub const EMPTY: Self = Self(0);
    /// Every kind.
    pub const ALL: Self = Self(u32::MAX);

    /// The set with one kind more.
    #[must_use]
    pub const fn with(self, kind: Kind) -> Self {
        Self(self.0 | 1 << kind as u32)
    }

    /// Whether the set has this kind.
    #[must_use]
    pub const fn contains(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u32) != 0
    }

    /// Whether the set has none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Kind> for KindSet {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::EMPTY, Self::with)
    }
}
