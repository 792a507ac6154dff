//! Paths inside an image, and sources outside. Pure.

/// A path as seen from a folder, cleaned, without a slash at its end.
pub(super) fn absolute(folder: &str, path: &str) -> String {
    let joined = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{folder}/{path}")
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Whether a source of ADD lies elsewhere: a URL, or a git repository.
pub(super) fn is_remote(source: &str) -> bool {
    let starts = ["http://", "https://", "git@", "ssh://", "git://"];
    starts.iter().any(|start| source.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_stay_inside() {
        for (folder, path, expected) in [
            ("/", "a", "/a"),
            ("/a", "../b//./c/", "/b/c"),
            ("/a", "/x/../..", "/"),
            ("/a", "", "/a"),
        ] {
            assert_eq!(absolute(folder, path), expected, "{folder} {path}");
        }
    }
}
