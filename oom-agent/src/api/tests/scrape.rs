//! `/metrics`: each client gets what it takes.

use super::*;
use crate::metrics::Format;

#[tokio::test]
async fn each_client_gets_the_format_that_it_takes() {
    let node = Node::new();
    for (accept, kind, end) in [
        ("application/openmetrics-text", Format::OpenMetrics, true),
        ("*/*", Format::Classic, false),
    ] {
        let request = Request::get("/metrics").header(header::ACCEPT, accept);
        let request = request.body(Body::empty()).unwrap();
        let answer = node.router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], kind.content_type());
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        assert_eq!(body.ends_with(b"# EOF\n"), end);
    }
}
