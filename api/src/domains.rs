//! Which host names an app may have beside the one that the platform gives. Pure.

/// Why a text is no host name for an app, for the person who typed it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HostnameError {
    #[error("{0} is no host name: give one like www.example.com or *.example.com")]
    Malformed(String),
    #[error("{0} is an address: give a host name like www.example.com")]
    Address(String),
    #[error("{0} belongs to the platform: names below {1} are given with apps")]
    Platform(String, String),
}

/// A host name as routers look it up: lower case, ASCII (IDNA, RFC 5891), without the dot at the
/// end; the first label may be `*`.
pub(crate) fn parse(text: &str, platform_domain: &str) -> Result<String, HostnameError> {
    let shown = || text.chars().take(100).collect::<String>();
    let malformed = || HostnameError::Malformed(shown());
    let text = text.trim();
    let text = text.strip_suffix('.').unwrap_or(text);
    let (prefix, rest) = match text.strip_prefix("*.") {
        Some(rest) => ("*.", rest),
        None => ("", text),
    };
    let is_address = |text: &str| text.parse::<std::net::IpAddr>().is_ok();
    if is_address(rest.trim_start_matches('[').trim_end_matches(']')) {
        return Err(HostnameError::Address(shown()));
    }
    let ascii = idna::domain_to_ascii_strict(rest).map_err(|_| malformed())?;
    let labels: Vec<&str> = ascii.split('.').collect();
    // RFC 3696, 2: a top-level domain is not all digits.
    let has_top = labels
        .last()
        .is_some_and(|top| !top.bytes().all(|b| b.is_ascii_digit()));
    let host = format!("{prefix}{ascii}");
    if labels.len() < 2
        || !has_top
        || !labels.iter().all(|label| is_label(label))
        || host.len() > 253
    {
        return Err(malformed());
    }
    if ascii == platform_domain || ascii.ends_with(&format!(".{platform_domain}")) {
        return Err(HostnameError::Platform(host, platform_domain.to_owned()));
    }
    Ok(host)
}

/// RFC 1123, 2.1
fn is_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&label.len())
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names() {
        for (text, expected) in [
            ("www.example.com", "www.example.com"),
            ("Example.COM.", "example.com"),
            ("*.example.com", "*.example.com"),
            ("b\u{fc}cher.example", "xn--bcher-kva.example"),
            ("shop.localhost", "shop.localhost"),
        ] {
            assert_eq!(
                parse(text, "paas.localhost").as_deref(),
                Ok(expected),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_none() {
        let long = format!("{}.com", "a.".repeat(130));
        for text in [
            "",
            ".",
            "com",
            "*",
            "*.",
            "a..b",
            "-a.com",
            "a-.com",
            "a_b.com",
            "a b.com",
            "*.*.com",
            "a.*.com",
            "http://a.com",
            "a.com/x",
            "a.com:80",
            "a.1",
            "\u{0}.com",
            &long,
        ] {
            let error = parse(text, "paas.localhost").unwrap_err();
            assert!(
                matches!(error, HostnameError::Malformed(_)),
                "{text}: {error}"
            );
        }
        for text in ["127.0.0.1", "::1", "[::1]"] {
            let error = parse(text, "paas.localhost").unwrap_err();
            assert!(
                matches!(error, HostnameError::Address(_)),
                "{text}: {error}"
            );
        }
        for text in ["paas.localhost", "api.paas.localhost", "*.Paas.localhost"] {
            let error = parse(text, "paas.localhost").unwrap_err();
            assert!(
                matches!(error, HostnameError::Platform(..)),
                "{text}: {error}"
            );
        }
    }
}
