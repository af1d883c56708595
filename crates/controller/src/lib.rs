//! Admission, bundles, identities and access requests.
