//! Microsoft Entra as far as a client needs it to log in: discovery, tokens for service principals and for federated
//! service accounts, and the metadata that `az cloud register` reads.

use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{Method, StatusCode, header};
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Call, Reply, form};
use crate::emulator::Inner;
use crate::error::ArmError;

/// How long an access token is good for, as the real service's default is between 60 and 90 minutes.
const TOKEN_LIFE_SECONDS: i64 = 3600;

/// The audience of a federated service-account token in Azure's workload identity.
const FEDERATED_AUDIENCE: &str = "api://AzureADTokenExchange";

/// Answers the paths that need no token; none for all others.
pub(super) async fn route(inner: &Inner, call: &Call) -> Option<Response> {
    let lower: Vec<&str> = call.lower.iter().map(String::as_str).collect();
    let reply = match (&call.method, lower.as_slice()) {
        (&Method::GET, ["metadata", "endpoints"]) => Reply::ok(metadata(call)),
        (&Method::GET, ["common", "discovery", "instance"]) => Reply::ok(instance(inner, call)),
        (&Method::GET, [tenant, ".well-known", "openid-configuration"])
        | (&Method::GET, [tenant, "v2.0", ".well-known", "openid-configuration"]) => {
            if !tenant_exists(inner, tenant) {
                return Some(refuse(
                    StatusCode::BAD_REQUEST,
                    "invalid_tenant",
                    90002,
                    "Tenant not found.",
                ));
            }
            Reply::ok(discovery(inner, call))
        }
        (&Method::POST, [tenant, "oauth2", "v2.0", "token"] | [tenant, "oauth2", "token"]) => {
            if !tenant_exists(inner, tenant) {
                return Some(refuse(
                    StatusCode::BAD_REQUEST,
                    "invalid_tenant",
                    90002,
                    "Tenant not found.",
                ));
            }
            return Some(token(inner, call).await);
        }
        _ => return None,
    };
    Some(reply.into_response())
}

fn tenant_exists(inner: &Inner, tenant: &str) -> bool {
    tenant.eq_ignore_ascii_case(&inner.seed.tenant_id)
        || matches!(tenant, "common" | "organizations")
}

fn discovery(inner: &Inner, call: &Call) -> Value {
    let root = format!("{}/{}", call.base, inner.seed.tenant_id);
    json!({
        "issuer": format!("{root}/v2.0"),
        "authorization_endpoint": format!("{root}/oauth2/v2.0/authorize"),
        "token_endpoint": format!("{root}/oauth2/v2.0/token"),
        "device_authorization_endpoint": format!("{root}/oauth2/v2.0/devicecode"),
        "jwks_uri": format!("{root}/discovery/v2.0/keys"),
        "response_types_supported": ["code", "id_token", "token"],
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic", "private_key_jwt"],
        "claims_supported": ["sub", "iss", "aud", "exp", "iat", "tid", "oid"],
    })
}

fn instance(inner: &Inner, call: &Call) -> Value {
    let host = call.base.trim_start_matches("https://");
    json!({
        "tenant_discovery_endpoint":
            format!("{}/{}/v2.0/.well-known/openid-configuration", call.base, inner.seed.tenant_id),
        "api-version": "1.1",
        "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
    })
}

/// One cloud; a list of one for the api-versions before 2022-09-01.
fn metadata(call: &Call) -> Value {
    let base = &call.base;
    let host = base.trim_start_matches("https://");
    let cloud = json!({
        "name": "Practice",
        "portal": base,
        "authentication": {
            "loginEndpoint": base,
            "audiences": [format!("{base}/"), "https://management.azure.com/"],
            "tenant": "common",
            "identityProvider": "AAD"
        },
        "resourceManager": format!("{base}/"),
        "graphAudience": format!("{base}/graph/"),
        "graph": format!("{base}/graph/"),
        "microsoftGraphResourceId": format!("{base}/graph/"),
        "gallery": base,
        "batch": base,
        "media": base,
        "sqlManagement": base,
        "vmImageAliasDoc": base,
        "activeDirectoryDataLake": base,
        "suffixes": {"acrLoginServer": host, "storage": host, "keyVaultDns": host, "sqlServerHostname": host}
    });
    match call.parameter("api-version") {
        Some(version) if version < "2022-09-01" => json!([cloud]),
        _ => cloud,
    }
}

async fn token(inner: &Inner, call: &Call) -> Response {
    let mut fields = form(&String::from_utf8_lossy(&call.body));
    if let Some((id, secret)) = basic(call) {
        fields.entry("client_id".into()).or_insert(id);
        fields.entry("client_secret".into()).or_insert(secret);
    }
    let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    if field("grant_type") != "client_credentials" {
        let text = "The practice tenant issues tokens for the grant type client_credentials only.";
        return refuse(
            StatusCode::BAD_REQUEST,
            "unsupported_grant_type",
            70003,
            text,
        );
    }
    let client = field("client_id");
    if !client.eq_ignore_ascii_case(&inner.seed.client_id) {
        let text =
            format!("Application with identifier '{client}' was not found in the directory.");
        return refuse(
            StatusCode::BAD_REQUEST,
            "unauthorized_client",
            700_016,
            &text,
        );
    }
    let assertion = field("client_assertion");
    if assertion.is_empty() {
        if Sha256::digest(field("client_secret")) != Sha256::digest(&inner.seed.client_secret) {
            let text = format!("Invalid client secret provided for app '{client}'.");
            return refuse(StatusCode::UNAUTHORIZED, "invalid_client", 7_000_215, &text);
        }
    } else if let Err(why) = federated(inner, assertion).await {
        return refuse(StatusCode::UNAUTHORIZED, "invalid_client", 700_211, &why);
    }
    // `scope` is `<resource>/.default`; the older endpoint says `resource`.
    let scope = if field("scope").is_empty() {
        field("resource")
    } else {
        field("scope")
    };
    let audience = scope
        .split(' ')
        .find_map(|s| s.strip_suffix("/.default"))
        .unwrap_or(scope);
    let token = issue(inner, call, audience);
    let body = json!({
        "token_type": "Bearer",
        "expires_in": TOKEN_LIFE_SECONDS,
        "ext_expires_in": TOKEN_LIFE_SECONDS,
        "access_token": token,
    });
    Reply::ok(body)
        .header("cache-control", "no-store")
        .into_response()
}

fn basic(call: &Call) -> Option<(String, String)> {
    let value = call.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let decoded = STANDARD.decode(value.strip_prefix("Basic ")?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((super::decode(id), super::decode(secret)))
}

/// A service account's token in exchange for one of Azure: the cluster itself says whether it is genuine.
async fn federated(inner: &Inner, assertion: &str) -> Result<(), String> {
    let client = inner
        .kube
        .as_ref()
        .ok_or("No matching federated identity record found.")?;
    let review = TokenReview {
        spec: TokenReviewSpec {
            token: assertion.to_owned(),
            audiences: Some(vec![FEDERATED_AUDIENCE.to_owned()]),
        },
        ..Default::default()
    };
    let api: Api<TokenReview> = Api::all(client.clone());
    let params = PostParams::default();
    let asked = tokio::time::timeout(
        std::time::Duration::from_secs(15),
        api.create(&params, &review),
    )
    .await;
    let answer = asked
        .map_err(|_| "The issuer did not answer.".to_owned())?
        .map_err(|error| error.to_string())?;
    let status = answer.status.unwrap_or_default();
    if status.authenticated == Some(true) {
        Ok(())
    } else {
        Err(format!(
            "The assertion is not accepted by its issuer: {}",
            status.error.unwrap_or_default()
        ))
    }
}

/// A token of three parts like a JWT. Clients may look into it (some do), only this server checks it.
fn issue(inner: &Inner, call: &Call, audience: &str) -> String {
    let now = inner.clock.now().as_second();
    let claims = json!({
        "aud": audience,
        "iss": format!("{}/{}/", call.base, inner.seed.tenant_id),
        "iat": now, "nbf": now, "exp": now + TOKEN_LIFE_SECONDS,
        "appid": inner.seed.client_id,
        "oid": inner.seed.client_id,
        "tid": inner.seed.tenant_id,
        "idtyp": "app", "ver": "1.0",
    });
    let header = json!({"typ": "JWT", "alg": "practice"});
    let head = URL_SAFE_NO_PAD.encode(header.to_string());
    let body = URL_SAFE_NO_PAD.encode(claims.to_string());
    let signature = sign(inner, &head, &body);
    format!("{head}.{body}.{signature}")
}

fn sign(inner: &Inner, head: &str, body: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(inner.token_key);
    hash.update(format!("{head}.{body}"));
    // Hashed twice with the key in front: extending the text does not give another valid signature.
    let mut outer = Sha256::new();
    outer.update(inner.token_key);
    outer.update(hash.finalize());
    URL_SAFE_NO_PAD.encode(outer.finalize())
}

/// Checks the bearer token of a request.
pub(super) fn authorize(inner: &Inner, call: &Call) -> Result<(), ArmError> {
    let refused = |code: &str, text: &str| ArmError::front(StatusCode::UNAUTHORIZED, code, text);
    let invalid = || refused("InvalidAuthenticationToken", "The access token is invalid.");
    let value = call
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let token = value
        .and_then(|value| {
            value
                .get(..7)
                .filter(|p| p.eq_ignore_ascii_case("bearer "))
                .and_then(|_| value.get(7..))
        })
        .ok_or_else(|| {
            refused(
                "AuthenticationFailed",
                "Authentication failed. The 'Authorization' header is missing.",
            )
        })?;
    let mut parts = token.split('.');
    let (Some(head), Some(body), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(invalid());
    };
    if sign(inner, head, body) != signature {
        return Err(invalid());
    }
    let claims: Value = URL_SAFE_NO_PAD
        .decode(body)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    if claims["exp"]
        .as_i64()
        .is_none_or(|exp| exp <= inner.clock.now().as_second())
    {
        return Err(refused(
            "ExpiredAuthenticationToken",
            "The access token expiry UTC time has passed.",
        ));
    }
    Ok(())
}

fn refuse(status: StatusCode, error: &str, code: u32, text: &str) -> Response {
    let body = json!({
        "error": error,
        "error_description": format!("AADSTS{code}: {text}"),
        "error_codes": [code],
        "timestamp": Timestamp::UNIX_EPOCH.to_string(),
    });
    (status, axum::Json(body)).into_response()
}
