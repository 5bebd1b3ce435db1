//! What a request costs the exchange, in CPU time of this thread: in proportion to its size, whatever its shape.

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};

use super::accept::Accepted;
use super::presented::Place;
use super::trust::Trust;
use super::{ExchangeOptions, answer, headers, request};
use crate::dialect::Dialect;
use crate::identity::CheckedRequest;

/// In bytes.
const SMALL: usize = 4 * 1024;
const LARGER: usize = 16;

/// In ns.
fn cpu_time() -> i64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    spent.tv_sec * 1_000_000_000 + spent.tv_nsec
}

/// The least of a few times: what else the machine does only adds.
fn least(mut work: impl FnMut()) -> i64 {
    let once = |_| {
        let start = cpu_time();
        work();
        cpu_time() - start
    };
    (0..5).map(once).min().expect("some").max(1)
}

/// Where it is linear the larger one takes `LARGER` times as long, where it is quadratic the square of that: the bound is
/// far from both.
fn assert_linear(shape: &str, small: i64, large: i64) {
    let bound = 4 * LARGER as i64 * small.max(20_000);
    assert!(large < bound, "{shape}: {small} ns, and {large} ns for {LARGER} times the size");
}

fn form(size: usize, part: impl Fn(usize) -> String) -> Request<Vec<u8>> {
    let mut body = "grant_type=refresh_token&refresh_token=r".to_owned();
    (0..)
        .map(part)
        .take_while(|part| {
            body.push_str(part);
            body.len() < size
        })
        .for_each(drop);
    Request::post("/token").body(body.into_bytes()).expect("a request")
}

fn json(size: usize, part: impl Fn(usize) -> String) -> Request<Vec<u8>> {
    let mut body = r#"{"refresh_token":"r""#.to_owned();
    (0..)
        .map(part)
        .take_while(|part| {
            body.push_str(part);
            body.len() < size
        })
        .for_each(drop);
    body.push('}');
    Request::post("/token").body(body.into_bytes()).expect("a request")
}

/// Values of one header of 32 bytes each.
fn headed(size: usize, name: &'static str, value: impl Fn(usize) -> String) -> Request<Vec<u8>> {
    let mut request = form(0, |_| String::new());
    let values = (0..size / 32).map(|index| HeaderValue::try_from(value(index)).expect("visible ASCII"));
    request.headers_mut().extend(values.map(|value| (HeaderName::from_static(name), value)));
    request
}

#[test]
fn reading_a_request_costs_in_proportion_to_its_size() {
    type Made = fn(usize) -> Request<Vec<u8>>;
    let shapes: &[(&str, Made)] = &[
        ("names", |size| form(size, |index| format!("&n{index}={index}"))),
        ("names without end", |size| form(size, |index| format!("&{index:x}"))),
        ("values of a name", |size| form(size, |index| format!("&scope={index}"))),
        ("tokens", |size| form(size, |index| format!("&refresh_token={index}"))),
        ("grants", |size| form(size, |index| format!("&grant_type={index}"))),
        ("names like another", |size| form(size, |_| "&client__id=a".to_owned())),
        ("one value", |size| form(size, |_| "a".to_owned())),
        ("encoded", |size| {
            form(size, |index| if index == 0 { "&client_secret=".to_owned() } else { "%2525".to_owned() })
        }),
        ("words of scope", |size| {
            form(size, |index| if index == 0 { "&scope=".to_owned() } else { format!("{index}+") })
        }),
        ("no UTF-8", |size| form(size, |index| if index == 0 { "&x=".to_owned() } else { "%ff".to_owned() })),
        ("multipart", |size| {
            let mut request = form(size, |_| "refresh_toke".to_owned());
            request.headers_mut().insert("content-type", HeaderValue::from_static("multipart/form-data; boundary=x"));
            request
        }),
        ("members", |size| json(size, |index| format!(r#","n{index}":{index}"#))),
        ("members of one name", |size| json(size, |index| format!(r#","refresh_token":"{index}""#))),
        ("quotes", |size| {
            let token = r#"\""#.repeat(size / 6);
            let body = format!(r#"{{"refresh_token":"{token}","x":"{token}a","y":"{token}b"}}"#);
            Request::post("/token").body(body.into_bytes()).expect("a request")
        }),
        ("elements", |size| json(size, |index| if index == 0 { r#","a":[0"#.to_owned() } else { ",1".to_owned() })),
        ("digits", |size| json(size, |index| if index == 0 { r#","a":[1"#.to_owned() } else { "1".to_owned() })),
        ("depth", |size| json(size, |index| if index == 0 { r#","a":"#.to_owned() } else { "[".to_owned() })),
        ("query", |size| {
            let mut request = form(0, |_| String::new());
            let query: String = (0..size / 16).map(|index| format!("n{index}={index}&")).collect();
            *request.uri_mut() = format!("/token?{}", &query[..query.len().min(60_000)]).parse().expect("a URI");
            request
        }),
        ("credentials", |size| headed(size, "authorization", |index| format!("Negotiate {index:022}"))),
        ("one credential", |size| headed(size, "authorization", |_| format!("Negotiate {:022}", 1))),
        ("Basic", |size| {
            let mut request = form(0, |_| String::new());
            let value = HeaderValue::try_from(format!("Basic {}", "YWJj".repeat(size / 4))).expect("visible ASCII");
            request.headers_mut().insert("authorization", value);
            request
        }),
        ("claims", |size| headed(size, "x-tenant", |index| format!("{index:032}"))),
        ("sessions", |size| headed(size / 32, "x-session", |_| "1".repeat(1024))),
        ("proofs", |size| headed(size, "dpop", |_| format!("{:032}", 1))),
        ("one proof", |size| {
            let mut request = form(0, |_| String::new());
            let value = HeaderValue::try_from("e30.".repeat(size / 4)).expect("visible ASCII");
            request.headers_mut().insert("dpop", value);
            request
        }),
        ("types", |size| headed(size, "content-type", |index| format!("text/{index:027}"))),
        ("taken types", |size| headed(size, "accept", |index| format!("text/{index:027}"))),
        // Few values, and long ones: of a header that is removed the `http` crate's own assertions look at each value for
        // each, in builds that have them.
        ("of the connection", |size| {
            headed(size / 32, "connection", |index| (0..32).map(|part| format!("x-{index:026}{part:03},")).collect())
        }),
        ("names of headers", |size| {
            let mut request = form(0, |_| String::new());
            let names = (0..size / 32).map(|index| format!("x-{index:020}").parse().expect("a name"));
            request.headers_mut().extend(names.map(|name: HeaderName| (name, HeaderValue::from_static("1"))));
            request
        }),
    ];
    let options = ExchangeOptions {
        session_header: Some("x-session".parse().expect("a name")),
        claim_headers: vec!["x-tenant".parse().expect("a name")],
        dpop_htu: vec!["https://idp.example/token".to_owned()],
        ..Default::default()
    };
    let trust = Trust::by(&options);

    for (shape, made) in shapes {
        let spent = |size| {
            let request = made(size);
            least(|| {
                if let Ok(request::Asked::Refresh(refresh)) = request::read(&request, &options, &trust) {
                    _ = Place::of(&refresh.token, &request);
                    _ = CheckedRequest::of(refresh, usize::MAX);
                }
                _ = Accepted::by(request.headers()).excludes("application/json");
                drop(headers::onward(request.clone(), options.session_header.as_ref()));
            })
        };
        assert_linear(shape, spent(SMALL), spent(LARGER * SMALL));
    }
}

#[test]
fn reading_an_answer_costs_in_proportion_to_its_size() {
    type Made = fn(usize) -> (u16, HeaderMap, String);
    let shapes: &[(&str, Made)] = &[
        ("members", |size| {
            let members: Vec<String> = (0..size / 16).map(|index| format!(r#""error{index}":"{index}""#)).collect();
            (400, HeaderMap::new(), format!("{{{}}}", members.join(",")))
        }),
        ("errors", |size| (400, HeaderMap::new(), format!(r#"{{"errors":[{}"a"]}}"#, r#""a","#.repeat(size / 4)))),
        ("depth", |size| (200, HeaderMap::new(), format!(r#"{{"a":{}"#, "[".repeat(size)))),
        ("form", |size| (400, HeaderMap::new(), "error_code=a&".repeat(size / 13))),
        ("elements", |size| (400, HeaderMap::new(), "<a>b</a>".repeat(size / 8))),
        ("challenges", |size| {
            let value = HeaderValue::try_from("error=a,".repeat(size / 8)).expect("visible ASCII");
            (401, HeaderMap::from_iter([(http::header::WWW_AUTHENTICATE, value)]), String::new())
        }),
        ("headers of the connection", |size| {
            let mut headers = headed(size, "connection", |index| format!("x-{index:030}")).headers().clone();
            let names = (0..size / 32).map(|index| format!("y-{index:030}").parse::<HeaderName>().expect("a name"));
            headers.extend(names.map(|name| (Some(name), HeaderValue::from_static("1"))));
            (200, headers, r#"{"access_token":"a"}"#.to_owned())
        }),
        ("limits", |size| {
            let value = HeaderValue::try_from("\"a\";r=0;t=1,".repeat(size / 12)).expect("visible ASCII");
            (429, HeaderMap::from_iter([("ratelimit".parse().expect("a name"), value)]), String::new())
        }),
    ];

    for (shape, made) in shapes {
        let spent = |size| {
            let (status, headers, body) = made(size);
            let mut response = Response::builder().status(status).body(body.into_bytes()).expect("an answer");
            *response.headers_mut() = headers;
            least(|| _ = answer::read_answer_in(response.clone(), &Dialect::default(), &Accepted::anything()))
        };
        assert_linear(shape, spent(SMALL), spent(LARGER * SMALL));
    }
}
