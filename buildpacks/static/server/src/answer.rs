//! A request -> what the site answers: redirects, files, routes, error page, in this order.
//! Reads file metadata and small pages, sends nothing; `serve` does.

use std::io;
use std::path::Path;

use http::header::{
    ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HOST, LAST_MODIFIED,
    LOCATION,
};
use http::request::Parts;
use http::response::Builder;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::conditions::{Part, Validators};
use crate::content_type;
use crate::files::{Content, Found, Root};
use crate::path::SitePath;
use crate::settings::{Fault, Settings};

/// A site that is ready to be served.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) settings: Settings,
    root: Root,
}

/// What follows the head of an answer.
#[derive(Debug)]
pub(crate) enum Body {
    Text(&'static str),
    /// `count` bytes of the file, beginning at byte `from`.
    File {
        content: Content,
        from: u64,
        count: u64,
    },
    /// None, be it for HEAD or for a status without a body.
    Nothing,
}

/// A file of the site under the name that decides its content type.
struct Page {
    content: Content,
    name: String,
}

/// Where a path leads.
enum Target {
    Page(Page),
    /// A folder asked for without its last slash: relative links in its page would go wrong.
    AddSlash,
    Nothing,
}

/// These say how an app is built and run, and lie in the root of a site without static.json.
const FILES_OF_THE_PLATFORM: &[&str] = &["/static.json", "/Procfile"];

impl Site {
    /// Reads the settings of the app and opens its root folder.
    pub(crate) fn open(app: &Path) -> Result<Site, Vec<Fault>> {
        let settings = Settings::read(app)?;
        let root = Root::open(app, &settings.root).map_err(|source| {
            vec![Fault::NoRoot {
                root: settings.root.clone(),
                source,
            }]
        })?;
        let site = Site { settings, root };
        if let Some(page) = &site.settings.error_page {
            let found = site.root.find(page);
            if !matches!(found, Ok(Found::File(_))) {
                let what = format!("there is no file {page} in {}", site.settings.root);
                return Err(vec![Fault::Wrong {
                    at: "error_page".to_owned(),
                    what,
                }]);
            }
        }
        Ok(site)
    }

    /// Answers GET and HEAD. An error is the machine's (no file handles left), not the client's.
    pub(crate) fn answer(&self, request: &Parts) -> io::Result<Response<Body>> {
        let mut response = if request.method == Method::GET || request.method == Method::HEAD {
            self.answer_get(request)?
        } else {
            let head = Response::builder().header(ALLOW, "GET, HEAD");
            text(head, StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD.\n")
        };
        if request.method == Method::HEAD {
            *response.body_mut() = Body::Nothing;
        }
        Ok(response)
    }

    fn answer_get(&self, request: &Parts) -> io::Result<Response<Body>> {
        if let Some(response) = self.to_https(request) {
            return Ok(response);
        }
        let Some(path) = SitePath::parse(request.uri.path()) else {
            return Ok(text(
                Response::builder(),
                StatusCode::BAD_REQUEST,
                "Not a path.\n",
            ));
        };
        let mut response = match self.redirect(&path) {
            Some(response) => response,
            None => match self.find(&path)? {
                Target::Page(page) => self.page(page, &request.headers),
                Target::AddSlash => redirect_to_folder(&path, request.uri.query()),
                Target::Nothing => return self.not_found(),
            },
        };
        self.add_headers(&path, response.headers_mut());
        Ok(response)
    }

    /// `https_only`: the router says how the client came.
    fn to_https(&self, request: &Parts) -> Option<Response<Body>> {
        let proto = request.headers.get("x-forwarded-proto")?;
        if !self.settings.https_only || proto.as_bytes().eq_ignore_ascii_case(b"https") {
            return None;
        }
        let host = request.headers.get(HOST)?.to_str().ok()?;
        let path = request
            .uri
            .path_and_query()
            .map_or("/", http::uri::PathAndQuery::as_str);
        redirect(
            StatusCode::MOVED_PERMANENTLY,
            &format!("https://{host}{path}"),
        )
    }

    fn redirect(&self, path: &SitePath) -> Option<Response<Body>> {
        let mut rules = self.settings.redirects.iter();
        let (_, rule) = rules.find(|(pattern, _)| pattern.matches(path.as_str()))?;
        redirect(rule.status, rule.url.to_str().ok()?)
    }

    fn find(&self, path: &SitePath) -> io::Result<Target> {
        if path.is_hidden() || FILES_OF_THE_PLATFORM.contains(&path.as_str()) {
            return Ok(Target::Nothing);
        }
        match self.look_at(path)? {
            Target::Nothing => self.follow_route(path),
            found => Ok(found),
        }
    }

    fn look_at(&self, path: &SitePath) -> io::Result<Target> {
        let relative = path.relative();
        let here = self.root.find(relative)?;
        if let (Found::File(content), false) = (here, path.is_folder()) {
            return Ok(Target::Page(Page {
                content,
                name: relative.to_owned(),
            }));
        }
        if self.settings.clean_urls && !path.is_folder() {
            let name = format!("{relative}.html");
            if let Found::File(content) = self.root.find(&name)? {
                return Ok(Target::Page(Page { content, name }));
            }
        }
        let name = format!("{relative}/index.html");
        Ok(match self.root.find(&name)? {
            Found::File(content) if path.is_folder() => Target::Page(Page { content, name }),
            Found::File(_) => Target::AddSlash,
            Found::Folder | Found::Nothing => Target::Nothing,
        })
    }

    /// A route to a folder (`"/assets/*": "/assets/"`) keeps later, wider routes away from it.
    fn follow_route(&self, path: &SitePath) -> io::Result<Target> {
        let mut routes = self.settings.routes.iter();
        let Some((_, target)) = routes.find(|(pattern, _)| pattern.matches(path.as_str())) else {
            return Ok(Target::Nothing);
        };
        let mut name = target.trim_start_matches('/').to_owned();
        if name.is_empty() || name.ends_with('/') {
            name.push_str(path.as_str().rsplit('/').next().unwrap_or_default());
        }
        Ok(match self.root.find(&name)? {
            Found::File(content) => Target::Page(Page { content, name }),
            Found::Folder | Found::Nothing => Target::Nothing,
        })
    }

    fn page(&self, page: Page, headers: &HeaderMap) -> Response<Body> {
        let Page { content, name } = page;
        let size_bytes = content.size_bytes;
        let validators = Validators::new(size_bytes, content.modified_unix_s);
        let head = Response::builder()
            .header(ETAG, &validators.etag)
            .header(LAST_MODIFIED, &validators.last_modified)
            .header(ACCEPT_RANGES, "bytes");
        if validators.is_known_by(headers) {
            return finish(head, StatusCode::NOT_MODIFIED, Body::Nothing);
        }
        let (status, from, count) = match validators.part_for(headers, size_bytes) {
            Part::Whole => (StatusCode::OK, 0, size_bytes),
            Part::Bytes { from, count } => (StatusCode::PARTIAL_CONTENT, from, count),
            Part::Beyond => {
                let head = head.header(CONTENT_RANGE, format!("bytes */{size_bytes}"));
                return text(head, StatusCode::RANGE_NOT_SATISFIABLE, "No such part.\n");
            }
        };
        let mut head = head
            .header(
                CONTENT_TYPE,
                content_type::of(&name, &self.settings.encoding),
            )
            .header(CONTENT_LENGTH, count);
        if status == StatusCode::PARTIAL_CONTENT {
            let last = (from + count).saturating_sub(1);
            head = head.header(CONTENT_RANGE, format!("bytes {from}-{last}/{size_bytes}"));
        }
        finish(
            head,
            status,
            Body::File {
                content,
                from,
                count,
            },
        )
    }

    fn not_found(&self) -> io::Result<Response<Body>> {
        let status = StatusCode::NOT_FOUND;
        let Some(name) = &self.settings.error_page else {
            return Ok(text(Response::builder(), status, "Not found.\n"));
        };
        let Found::File(content) = self.root.find(name)? else {
            return Ok(text(Response::builder(), status, "Not found.\n"));
        };
        let count = content.size_bytes;
        let head = Response::builder()
            .header(
                CONTENT_TYPE,
                content_type::of(name, &self.settings.encoding),
            )
            .header(CONTENT_LENGTH, count);
        Ok(finish(
            head,
            status,
            Body::File {
                content,
                from: 0,
                count,
            },
        ))
    }

    fn add_headers(&self, path: &SitePath, headers: &mut HeaderMap) {
        for (pattern, values) in &self.settings.headers {
            if !pattern.matches(path.as_str()) {
                continue;
            }
            for (name, value) in values {
                headers.insert(name.clone(), value.clone());
            }
        }
    }
}

fn redirect_to_folder(path: &SitePath, query: Option<&str>) -> Response<Body> {
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let location = format!("{}/{query}", path.encoded());
    redirect(StatusCode::MOVED_PERMANENTLY, &location).unwrap_or_else(|| {
        text(
            Response::builder(),
            StatusCode::BAD_REQUEST,
            "Not a path.\n",
        )
    })
}

/// None when the address cannot be a header value.
fn redirect(status: StatusCode, location: &str) -> Option<Response<Body>> {
    let location = HeaderValue::from_str(location).ok()?;
    Some(text(
        Response::builder().header(LOCATION, location),
        status,
        "It is elsewhere.\n",
    ))
}

fn text(head: Builder, status: StatusCode, body: &'static str) -> Response<Body> {
    let head = head
        .header(CONTENT_TYPE, "text/plain; charset=UTF-8")
        .header(CONTENT_LENGTH, body.len());
    finish(head, status, Body::Text(body))
}

fn finish(head: Builder, status: StatusCode, body: Body) -> Response<Body> {
    head.status(status)
        .body(body)
        .expect("its headers are values that were checked or made here")
}

#[cfg(test)]
mod tests;
