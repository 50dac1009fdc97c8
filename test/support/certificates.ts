/**
 * Certificates for tests. Those of SERVED are constant, for golden files; they were made for these
 * tests alone and vouch for nothing. Tests on sockets make theirs when they run.
 */

export interface TestCertificate {
  readonly certificate: string;
  readonly privateKey: string;
}

/** For a.example and b.example, each signed by itself. */
export const SERVED: readonly TestCertificate[] = [
  {
    certificate: `-----BEGIN CERTIFICATE-----
MIIBlDCCATugAwIBAgIUDktFbSSrQQPNgbT/MulETSDZ8eQwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJYS5leGFtcGxlMCAXDTI2MTEyMzIwMTc0NloYDzIxMjYxMDMw
MjAxNzQ2WjAUMRIwEAYDVQQDDAlhLmV4YW1wbGUwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQQEoelBEEIv2JZZ71KZIHOlNKs2RwcuLzfTfErQeaUpZsArL0HzHnn
gYzjFoyAvvee7BMprJBWfh4OKwjtAz0Uo2kwZzAdBgNVHQ4EFgQUBXlP1TLRp/jA
9+BAzuZYKIlcA88wHwYDVR0jBBgwFoAUBXlP1TLRp/jA9+BAzuZYKIlcA88wDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglhLmV4YW1wbGUwCgYIKoZIzj0EAwID
RwAwRAIgc2iEmfmfeDZlwhLtLRUR8CHeozPIN47D5PKDa48PTYICIHWyvX7RL4PM
WmQoLBCoiuoCO4iZOlyTvF9AY3GR+UBI
-----END CERTIFICATE-----
`,
    privateKey: `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg6elNrVow72FDDOmW
hfgmjx32wcotPYAlrBvir5Zl0DmhRANCAAQQEoelBEEIv2JZZ71KZIHOlNKs2Rwc
uLzfTfErQeaUpZsArL0HzHnngYzjFoyAvvee7BMprJBWfh4OKwjtAz0U
-----END PRIVATE KEY-----
`,
  },
  {
    certificate: `-----BEGIN CERTIFICATE-----
MIIBlDCCATugAwIBAgIUf03GcxtIoXI+MyP2UdPlG3e7QrwwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJYi5leGFtcGxlMCAXDTI2MTEyMzIwMTc0NloYDzIxMjYxMDMw
MjAxNzQ2WjAUMRIwEAYDVQQDDAliLmV4YW1wbGUwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATX8NDTez5j4ZrKD0foIm91AcvhqoROfi55LCm6RY2jC5N3qgTvC341
T5a9ES+yrEUHcyYH7aeYou50r2OMsHQho2kwZzAdBgNVHQ4EFgQUkD2Ii5QWxImC
MoxPBLNTvESm9lcwHwYDVR0jBBgwFoAUkD2Ii5QWxImCMoxPBLNTvESm9lcwDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALggliLmV4YW1wbGUwCgYIKoZIzj0EAwID
RwAwRAIgPVUKu3o/1383pYRnzKD3FQJlpiYcY4zs+oEW7VRCiNcCIGgQIDJERt1/
1kqQ4hQs9LG180sV0s9Sd6/zQkHlYQRY
-----END CERTIFICATE-----
`,
    privateKey: `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgyxvPIgIEIW8PXglt
smXQIbRmChlaLNwx5j/CNqK9uy6hRANCAATX8NDTez5j4ZrKD0foIm91AcvhqoRO
fi55LCm6RY2jC5N3qgTvC341T5a9ES+yrEUHcyYH7aeYou50r2OMsHQh
-----END PRIVATE KEY-----
`,
  },
];
