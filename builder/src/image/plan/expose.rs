//! Ports of EXPOSE: `[ip:][host:]port[-port][/protocol]`. Pure.

/// Ports of one word, each as `80/tcp`.
pub(super) fn ports(word: &str) -> Result<Vec<String>, String> {
    let (ports, protocol) = match word.split_once('/') {
        Some((ports, protocol)) => (ports, protocol.to_lowercase()),
        None => (word, "tcp".to_owned()),
    };
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(format!("invalid proto: {protocol}"));
    }
    let inside = ports.rsplit(':').next().unwrap_or_default();
    let (from, to) = inside.split_once('-').unwrap_or((inside, inside));
    let number = |text: &str| {
        text.parse::<u16>()
            .map_err(|_| format!("invalid containerPort: {inside}"))
    };
    let (from, to) = (number(from)?, number(to)?);
    if from > to {
        return Err(format!("invalid containerPort: {inside}"));
    }
    Ok((from..=to)
        .map(|port| format!("{port}/{protocol}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for (word, expected) in [
            ("80", Ok(vec!["80/tcp"])),
            ("53/UDP", Ok(vec!["53/udp"])),
            ("7000-7002", Ok(vec!["7000/tcp", "7001/tcp", "7002/tcp"])),
            ("127.0.0.1:8080:80", Ok(vec!["80/tcp"])),
            ("notaport", Err("invalid containerPort: notaport")),
            ("80/x", Err("invalid proto: x")),
            ("70000", Err("invalid containerPort: 70000")),
            ("9-8", Err("invalid containerPort: 9-8")),
        ] {
            let got = ports(word);
            let got = got
                .as_ref()
                .map(|ports| ports.iter().map(String::as_str).collect());
            assert_eq!(got.map_err(String::as_str), expected, "{word}");
        }
    }
}
