//! How long one task runs.

use super::*;

#[tokio::test]
async fn a_large_body_yields_after_a_quarter_of_a_mebibyte() {
    let run = async || {
        let mut passed = 0;
        std::future::poll_fn(|cx| {
            while poll_budget(cx).is_ready() && passed < 1 << 30 {
                consume_budget(cx, 64 << 10);
                passed += 64 << 10;
            }
            Poll::Ready(passed)
        })
        .await
    };

    let passed = run().await;

    assert_eq!(passed, 256 << 10);
}
