/**
 * A certificate for 127.0.0.1 that signs itself, and its key, known to everybody and good for tests alone. Made once, because
 * Node can make none, with: openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500
 * -subj "/CN=mallorn test" -addext subjectAltName=IP:127.0.0.1
 */

export const TEST_CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBlTCCATygAwIBAgIULV1N3ORNL7SWqm2EnPSAEYaRycwwCgYIKoZIzj0EAwIw
FzEVMBMGA1UEAwwMbWFsbG9ybiB0ZXN0MCAXDTI2MTEyMzE2MzUwMVoYDzIxMjYx
MDMwMTYzNTAxWjAXMRUwEwYDVQQDDAxtYWxsb3JuIHRlc3QwWTATBgcqhkjOPQIB
BggqhkjOPQMBBwNCAAQORHaEanIQF1m0Pk6F02Ftcm1tWmVfP24fN1dDVO6XfG5n
g5VeB2U0wH63p28eNB9k18GO7RPHFfDHvAe+nA+qo2QwYjAdBgNVHQ4EFgQUq9g+
ImTD28wp6cT8SHXdTz5HuNUwHwYDVR0jBBgwFoAUq9g+ImTD28wp6cT8SHXdTz5H
uNUwDwYDVR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMC
A0cAMEQCIBUMuDsiT7a9D5uzFvxCrCt+JbqXe8et+etGbG7swjq/AiBlxBCJBlHV
K6zZeRbpv+Cvb2eBfZ+z1EMLGOVorOiNlA==
-----END CERTIFICATE-----
`;

export const TEST_CERTIFICATE_KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgrr7B3Ba9R+Y6D9xv
2m9S/scrXWsNXxBfxN+A+Eju4dmhRANCAAQORHaEanIQF1m0Pk6F02Ftcm1tWmVf
P24fN1dDVO6XfG5ng5VeB2U0wH63p28eNB9k18GO7RPHFfDHvAe+nA+q
-----END PRIVATE KEY-----
`;
