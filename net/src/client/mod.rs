//! The client library.
pub struct Client;
pub struct ClientError;
pub struct ClientOptions;
