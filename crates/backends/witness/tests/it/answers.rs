//! What is made of an answer.

use eonpro_audit::tlog::{Answer, MAX_ANSWER_BYTES, Refusal};
use eonpro_audit::{Witness as _, WitnessError};
use eonpro_witness::{HttpWitness, WitnessTls};

use crate::bed::{Says, key, line, request, serve};

const TEXT: &str = "text/plain";

async fn told(status: u16, kind: &'static str, body: String) -> Result<Answer, WitnessError> {
    let (address, asked) = serve(Says { status, kind, body }, None).await;
    let url = format!("http://{address}/prefix/");
    let witness = HttpWitness::new(key(), &url, &WitnessTls::Off).unwrap();
    let request = request().await;
    let answer = witness.add_checkpoint(&request).await;
    let asked = asked.lock().unwrap().clone();
    let [[method, path, host, body]] = &asked[..] else {
        panic!("asked not once: {asked:?}");
    };
    assert_eq!((&**method, &**path), ("POST", "/prefix/add-checkpoint"));
    assert_eq!(*host, address.to_string());
    assert_eq!(*body, request.to_string());
    answer
}

#[tokio::test]
async fn answers_are_read_as_the_specification_says() {
    let cosigned = told(200, TEXT, line().to_string()).await.unwrap();
    assert_eq!(cosigned, Answer::Cosigned(vec![line()]));
    let size = "text/x.tlog.size";
    let conflict = told(409, size, "7\n".to_owned()).await.unwrap();
    assert_eq!(conflict, Answer::Refused(Refusal::Conflict { size: 7 }));
    let unknown = told(404, TEXT, "not found".to_owned()).await.unwrap();
    assert_eq!(unknown, Answer::Refused(Refusal::UnknownLog));
}

#[tokio::test]
async fn redirects_are_not_followed() {
    for status in [301, 307, 308] {
        let answer = told(status, TEXT, String::new()).await.unwrap();
        assert_eq!(answer, Answer::Other(status));
    }
}

#[tokio::test]
async fn what_is_no_answer_is_an_error_and_what_is_too_long_is_not_read() {
    for (status, kind, body) in [
        (200, TEXT, "nothing".to_owned()),
        (409, TEXT, "7\n".to_owned()),
        (409, "text/x.tlog.size", "07\n".to_owned()),
    ] {
        let refused = told(status, kind, body).await;
        assert!(
            matches!(refused, Err(WitnessError::Answer(_))),
            "{refused:?}"
        );
    }
    let long = "a".repeat(MAX_ANSWER_BYTES + 1);
    let refused = told(200, TEXT, long).await;
    assert!(
        matches!(refused, Err(WitnessError::Unreachable(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn nobody_at_the_address_is_out_of_reach() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let witness = HttpWitness::new(key(), &url, &WitnessTls::Off).unwrap();
    let refused = witness.add_checkpoint(&request().await).await;
    assert!(
        matches!(refused, Err(WitnessError::Unreachable(_))),
        "{refused:?}"
    );
}
