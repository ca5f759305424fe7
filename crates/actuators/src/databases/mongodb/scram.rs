//! SCRAM-SHA-256 (RFC 7677), the client's side, as MongoDB speaks it since 4.0.

use std::borrow::Cow;
use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Fewest iterations that are accepted.
///
/// # Source
/// RFC 7677, section 4: at least 4096.
const FEWEST_ITERATIONS: u32 = 4096;

/// A login under way.
pub struct Login {
    nonce: String,
    first: String,
}

/// The server's last word is checked against this.
pub struct Expected(Vec<u8>);

impl Login {
    /// A login of a user. The nonce is random text without commas.
    pub fn new(user: &str, nonce: String) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let first = format!("n={user},r={nonce}");
        Self { nonce, first }
    }

    /// The first message.
    pub fn first(&self) -> String {
        format!("n,,{}", self.first)
    }

    /// The second message, from the server's answer to the first.
    ///
    /// # Errors
    /// What is wrong with the answer, in words.
    pub fn second(&self, answer: &str, password: &str) -> Result<(String, Expected), String> {
        let nonce = field(answer, 'r')?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("the server did not extend the nonce".to_owned());
        }
        let salt = STANDARD
            .decode(field(answer, 's')?)
            .map_err(|_| "the salt is no base64".to_owned())?;
        let iterations = field(answer, 'i')?
            .parse::<u32>()
            .ok()
            .filter(|n| *n >= FEWEST_ITERATIONS)
            .and_then(NonZeroU32::new)
            .ok_or("too few iterations")?;
        // As the server stored it; one that cannot be prepared was stored as it is.
        let prepared = stringprep::saslprep(password).unwrap_or(Cow::Borrowed(password));
        let mut salted = [0; digest::SHA256_OUTPUT_LEN];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            iterations,
            &salt,
            prepared.as_bytes(),
            &mut salted,
        );
        let sign = |key: &[u8], text: &[u8]| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text)
                .as_ref()
                .to_vec()
        };
        let client_key = sign(&salted, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, &client_key);
        let without_proof = format!("c=biws,r={nonce}");
        let message = format!("{},{answer},{without_proof}", self.first);
        let signature = sign(stored_key.as_ref(), message.as_bytes());
        let proof: Vec<u8> = client_key
            .iter()
            .zip(&signature)
            .map(|(a, b)| a ^ b)
            .collect();
        let server_key = sign(&salted, b"Server Key");
        let expected = sign(&server_key, message.as_bytes());
        Ok((
            format!("{without_proof},p={}", STANDARD.encode(proof)),
            Expected(expected),
        ))
    }
}

impl Expected {
    /// The server knows the password too.
    ///
    /// # Errors
    /// It does not, or says why not.
    pub fn check(&self, answer: &str) -> Result<(), String> {
        let said = STANDARD
            .decode(field(answer, 'v')?)
            .map_err(|_| "the signature is no base64".to_owned())?;
        constant_time::verify_slices_are_equal(&said, &self.0)
            .map_err(|_| "the server does not know the password".to_owned())
    }
}

fn field(text: &str, name: char) -> Result<&str, String> {
    text.split(',')
        .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        .ok_or_else(|| format!("no `{name}` in the server's answer"))
}

#[cfg(test)]
mod tests {
    use super::Login;

    /// The example of RFC 7677.
    #[test]
    fn the_rfcs_example() {
        let login = Login::new("user", "rOprNGfwEbeRWgbNEkqO".to_owned());
        assert_eq!(login.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let answer = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let (second, expected) = login.second(answer, "pencil").unwrap();
        assert_eq!(
            second,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        expected
            .check("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
            .unwrap();
        assert!(
            expected
                .check("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=")
                .is_err()
        );
        assert!(
            login
                .second(&answer.replace("rOpr", "xOpr"), "pencil")
                .is_err()
        );
        assert!(
            login
                .second(&answer.replace("4096", "1"), "pencil")
                .is_err()
        );
    }
}
