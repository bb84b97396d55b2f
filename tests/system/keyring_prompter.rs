//! A person at the desktop: answers the keyring's dialog, as GNOME's prompter shows it.
//!
//! The person speaks to the keyring as that program does (`org.gnome.keyring.internal.Prompter`, secrets
//! by `sx-aes-1`), and types one password.

use std::collections::HashMap;
use std::thread::JoinHandle;

use aws_lc_rs::cipher::{AES_128, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::hkdf;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use oo7::zbus::message::{Header, Type};
use oo7::zbus::zvariant::{OwnedObjectPath, OwnedValue};
use oo7::zbus::{Connection, MessageStream, connection};
use tokio::sync::oneshot;

/// A person at the desktop until dropped.
pub(crate) struct Person {
    leave: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Puts a person at the desktop of this bus who knows the keyring's password.
pub(crate) fn person(bus: &str, password: &'static str) -> Person {
    let (leave, left) = oneshot::channel::<()>();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let bus = bus.to_owned();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let connection = connection::Builder::address(bus.as_str()).unwrap();
            let connection = connection.name(NAME).unwrap().build().await.unwrap();
            let mut messages = MessageStream::from(&connection);
            ready.send(()).unwrap();
            tokio::select! {
                _ = left => {}
                () = answer(&connection, &mut messages, password) => {}
            }
        });
    });
    is_ready.recv().unwrap();
    Person { leave: Some(leave), thread: Some(thread) }
}

impl Drop for Person {
    fn drop(&mut self) {
        drop(self.leave.take());
        let _ = self.thread.take().unwrap().join();
    }
}

async fn answer(connection: &Connection, messages: &mut MessageStream, password: &str) {
    while let Some(message) = next(messages).await {
        let header = message.header();
        if message.message_type() != Type::MethodCall {
            continue;
        }
        let body = message.body();
        match header.member().unwrap().as_str() {
            "BeginPrompting" => {
                let callback: OwnedObjectPath = body.deserialize().unwrap();
                connection.reply(&header, &()).await.unwrap();
                ready(connection, &header, &callback, "", &public()).await;
            }
            "PerformPrompt" => {
                type Asked = (OwnedObjectPath, String, HashMap<String, OwnedValue>, String);
                let (callback, _, _, exchange): Asked = body.deserialize().unwrap();
                connection.reply(&header, &()).await.unwrap();
                let typed = public() + &sealed(&exchange, password);
                ready(connection, &header, &callback, "yes", &typed).await;
            }
            "StopPrompting" => {
                let callback: OwnedObjectPath = body.deserialize().unwrap();
                connection.reply(&header, &()).await.unwrap();
                let to = header.sender().unwrap().clone();
                let done =
                    connection.call_method(Some(to), &callback, Some(CALLBACK), "PromptDone", &());
                let _ = done.await;
            }
            _ => {}
        }
    }
}

async fn next(messages: &mut MessageStream) -> Option<oo7::zbus::Message> {
    use std::pin::Pin;
    let next = std::future::poll_fn(|cx| {
        oo7::zbus::export::futures_core::Stream::poll_next(Pin::new(&mut *messages), cx)
    });
    next.await.map(Result::unwrap)
}

/// Says that the dialog is there, or what was typed into it.
async fn ready(
    connection: &Connection,
    header: &Header<'_>,
    callback: &OwnedObjectPath,
    reply: &str,
    exchange: &str,
) {
    let to = header.sender().unwrap().clone();
    let said = (reply, HashMap::<&str, OwnedValue>::new(), exchange);
    let told = connection.call_method(Some(to), callback, Some(CALLBACK), "PromptReady", &said);
    told.await.unwrap();
}

/// Our half of the agreement on a key: 2 to the power of 1. The key protects nothing here.
fn public() -> String {
    format!("[sx-aes-1]\npublic={}\n", BASE64_STANDARD.encode([2]))
}

/// Encrypts what is typed under the key agreed on: the other's half to the power of 1.
fn sealed(exchange: &str, password: &str) -> String {
    let theirs = exchange.lines().find_map(|line| line.strip_prefix("public=")).unwrap();
    let theirs = BASE64_STANDARD.decode(theirs).unwrap();
    // gcr derives the key from the number alone, without zeros up to the length of the prime.
    let mut key = [0; 16];
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&theirs);
    secret.expand(&[], Sixteen).unwrap().fill(&mut key).unwrap();
    let key = UnboundCipherKey::new(&AES_128, &key).unwrap();
    let mut text = password.as_bytes().to_vec();
    let context = PaddedBlockEncryptingKey::cbc_pkcs7(key).unwrap().encrypt(&mut text).unwrap();
    let iv: &[u8] = (&context).try_into().unwrap();
    let (text, iv) = (BASE64_STANDARD.encode(text), BASE64_STANDARD.encode(iv));
    format!("secret={text}\niv={iv}\n")
}

struct Sixteen;

impl hkdf::KeyType for Sixteen {
    fn len(&self) -> usize {
        16
    }
}

const NAME: &str = "org.gnome.keyring.SystemPrompter";
const CALLBACK: &str = "org.gnome.keyring.internal.Prompter.Callback";
