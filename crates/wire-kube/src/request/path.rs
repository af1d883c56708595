//! Paths: segments, and the resource that they name.

use super::{MAX_PATH, Refused, Resource};

/// A path in its segments, none of which is empty.
pub(super) struct Path<'a> {
    segments: Vec<Segment<'a>>,
    /// How many slashes were at the end.
    slashes: usize,
}

struct Segment<'a> {
    sent: &'a str,
    /// None: it is no plain name, and why.
    name: Result<String, Refused>,
}

/// The verb of a method where no resource is named.
pub(super) fn method(method: &str) -> Result<&'static str, Refused> {
    Ok(match method {
        "GET" => "get",
        "HEAD" => "head",
        "POST" => "post",
        "PUT" => "put",
        "PATCH" => "patch",
        "DELETE" => "delete",
        "OPTIONS" => "options",
        _ => return Err(Refused::Method),
    })
}

/// The verb of a method where an object or a collection is named.
fn verb(method: &str) -> Result<&'static str, Refused> {
    Ok(match method {
        "GET" | "HEAD" => "get",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => return Err(Refused::Method),
    })
}

impl<'a> Path<'a> {
    pub(super) fn parse(path: &'a str) -> Result<Path<'a>, Refused> {
        if path.len() > MAX_PATH {
            return Err(Refused::TooLong("path"));
        }
        if !path.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Refused::Character("path"));
        }
        let inner = path.strip_prefix('/').ok_or(Refused::EmptySegment)?;
        let trimmed = inner.trim_end_matches('/');
        let segments = match trimmed {
            "" => Vec::new(),
            text => text.split('/').map(Segment::parse).collect(),
        };
        if segments.is_empty() && !inner.is_empty() {
            return Err(Refused::EmptySegment);
        }
        let slashes = inner.len() - trimmed.len();
        Ok(Path { segments, slashes })
    }

    /// The path that the server sees, without slashes at its end.
    pub(super) fn decoded(&self) -> String {
        let mut path = String::new();
        for segment in &self.segments {
            path.push('/');
            path.push_str(segment.name.as_deref().unwrap_or(segment.sent));
        }
        if path.is_empty() {
            path.push('/');
        }
        path
    }

    /// Verb and resource, None where no resource is named. Every segment is a plain name then, but those
    /// of [`Resource::rest`].
    pub(super) fn locate(&self, method: &str) -> Result<Option<(&'static str, Resource)>, Refused> {
        let mut at = Cursor { path: self, at: 0 };
        let groupless = match at.peek()? {
            Some("api") if self.segments.len() >= 3 => true,
            Some("apis") if self.segments.len() >= 4 => false,
            _ => {
                while at.next()?.is_some() {}
                return Ok(None);
            }
        };
        at.next()?;
        let mut resource = Resource::default();
        if !groupless {
            resource.group = at.name()?;
        }
        resource.version = at.name()?;
        let special = match at.peek()? {
            Some("watch") => Some("watch"),
            Some("proxy") => Some("proxy"),
            _ => None,
        };
        if special.is_some() {
            at.next()?;
        }
        let mut verb = verb(method)?;
        if special == Some("watch") {
            verb = "watch";
        }
        resource.resource = at.name()?;
        if resource.resource == "namespaces" {
            resource.name = at.next()?.map(str::to_owned);
            resource.namespace.clone_from(&resource.name);
            // `status` and `finalize` are parts of the Namespace; anything else is a resource in it.
            match at.peek()? {
                None | Some("status" | "finalize") => {}
                Some(_) if resource.name.is_some() => {
                    resource.resource = at.name()?;
                    resource.name = at.next()?.map(str::to_owned);
                }
                Some(_) => {}
            }
        } else {
            resource.name = at.next()?.map(str::to_owned);
        }
        if special == Some("proxy") {
            resource.subresource = "proxy".to_owned();
        } else if let Some(subresource) = at.next()? {
            resource.subresource = subresource.to_owned();
        }
        resource.rest = match resource.subresource.as_str() {
            "proxy" => at.sent(),
            _ => {
                let rest = at.at;
                while at.next()?.is_some() {}
                Cursor {
                    path: self,
                    at: rest,
                }
                .names()
            }
        };
        // Names of metrics are resources in these groups, and have letters of both cases.
        let free = resource.group.ends_with("metrics.k8s.io");
        let names = [
            &resource.group,
            &resource.version,
            &resource.resource,
            &resource.subresource,
        ];
        if !free
            && names
                .iter()
                .any(|name| name.chars().any(char::is_uppercase))
        {
            return Err(Refused::Case);
        }
        let core = resource.group.is_empty() && resource.resource == "pods";
        if core
            && matches!(
                resource.subresource.as_str(),
                "exec" | "attach" | "portforward"
            )
        {
            verb = "create";
        }
        Ok(Some((verb, resource)))
    }
}

impl<'a> Segment<'a> {
    fn parse(sent: &'a str) -> Segment<'a> {
        Segment {
            sent,
            name: name(sent),
        }
    }
}

/// A segment as the server decodes it, where that is a plain name.
fn name(sent: &str) -> Result<String, Refused> {
    if sent.is_empty() {
        return Err(Refused::EmptySegment);
    }
    let name = unescape(sent, "path")?;
    if matches!(name.as_str(), "." | "..") {
        return Err(Refused::DotSegment);
    }
    let separator = |c: char| matches!(c, '/' | '\\' | '%') || c.is_control();
    if name.contains(separator) {
        return Err(Refused::Separator);
    }
    Ok(name)
}

/// Percent-encoding undone, once.
pub(super) fn unescape(sent: &str, part: &'static str) -> Result<String, Refused> {
    if !sent.contains('%') {
        return Ok(sent.to_owned());
    }
    let mut bytes = Vec::with_capacity(sent.len());
    let mut rest = sent.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = tail else {
            return Err(Refused::Encoding(part));
        };
        let digit = |b: &u8| char::from(*b).to_digit(16);
        let (Some(high), Some(low)) = (digit(high), digit(low)) else {
            return Err(Refused::Encoding(part));
        };
        // Two hexadecimal digits are below 256.
        bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| Refused::Encoding(part))
}

/// A walk over the segments that refuses those that are no plain names.
struct Cursor<'p, 'a> {
    path: &'p Path<'a>,
    at: usize,
}

impl<'p> Cursor<'p, '_> {
    fn peek(&self) -> Result<Option<&'p str>, Refused> {
        match self.path.segments.get(self.at).map(|segment| &segment.name) {
            None => Ok(None),
            Some(Ok(name)) => Ok(Some(name)),
            Some(Err(refused)) => Err(refused.clone()),
        }
    }

    fn next(&mut self) -> Result<Option<&'p str>, Refused> {
        let name = self.peek()?;
        self.at += usize::from(name.is_some());
        Ok(name)
    }

    fn name(&mut self) -> Result<String, Refused> {
        Ok(self.next()?.ok_or(Refused::NoResource)?.to_owned())
    }

    /// The segments that are left, as they were sent, and slashes at the end.
    fn sent(&self) -> String {
        let rest = self.path.segments.get(self.at..).unwrap_or_default();
        let sent: Vec<&str> = rest.iter().map(|segment| segment.sent).collect();
        let mut sent = sent.join("/");
        if !sent.is_empty() {
            sent.extend(std::iter::repeat_n('/', self.path.slashes));
        }
        sent
    }

    /// The segments that are left, decoded.
    fn names(&self) -> String {
        let rest = self.path.segments.get(self.at..).unwrap_or_default();
        let names: Vec<&str> = rest
            .iter()
            .map(|segment| segment.name.as_deref().unwrap_or(segment.sent))
            .collect();
        names.join("/")
    }
}
