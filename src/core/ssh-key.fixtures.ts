// Test keys, used nowhere else: made by openssl, and turned into PuTTY's format by puttygen 0.78
// (puttygen KEY -O private --ppk-param version=2 -C 'web server').

export const RSA_PKCS8 = `-----BEGIN PRIVATE KEY-----
MIICdgIBADANBgkqhkiG9w0BAQEFAASCAmAwggJcAgEAAoGBALrSfHOww5fZbFTy
bw2RPd6ujwMDCtpsMFfbU6B9HfZXKSF0I9D6v/dx7B5+R/SqMGqJtiFnKsZJ7Wx2
oefhXT5LJT/iyxImS+BBpHdAblG6WLAT/0iFxnt/uIw83rtLAvcH3GyvnrYg0lUl
SIMkW6/5HF24iEnZDIG1FnhgBuDzAgMBAAECgYA1F9aYhla/0+GOrqtS3sEHhPJN
t9Kgynher40vof8e4BxnTntTS7+8kdq5u8e1R5yk2mgxTAGDAsV/uqM+o/R8YCs+
/UebANtIjDTFsR+8e2X0jg8opbCf//MD/5qe1hhwVOd6axElpJEhVIAWpK6oSMvE
PkrsTZDWlKCBLRivaQJBAOVZCYQZJt51CwPwQVrZzoESYEHy9Iv8cUx1zIiqqaDb
7pjGubVF1mgiCBBLZNmd8dGqlRfcQ1KVWd5oQA+JBb8CQQDQiFZqeuFdOPBhb7wJ
DMzaidBggUKvyFb4ww8PEBelyqInJW7ElTRd64eSZ+MjA5vhs6msU06qdin59nPV
6nnNAkEA1NDrCJ4COFipUQ1Gx9PmUFTJ50hX7fHg/E8u7P5YCwEqBLAasP/N9bDm
hKBBQ8HRG3pLgOmNuvsFemCIWSIPpwJAPwFCYs+XscvXTQkuXemhJ1JGRDIpzOSR
6n082oc5Ld1oWr2Dlx+hf9L+1ixPQy/+9BWNaUSOWxBypFRjMTmz7QJAdO7mZVMG
6Td0Ep1FX8z9v6Q58htnP6MRBGi88gG0Kuu4UPKKKXw9GZd+BtwUCOuyxfUbylKM
XHHeKz7nmWzVoA==
-----END PRIVATE KEY-----
`

export const RSA_PPK = `PuTTY-User-Key-File-2: ssh-rsa
Encryption: none
Comment: web server
Public-Lines: 4
AAAAB3NzaC1yc2EAAAADAQABAAAAgQC60nxzsMOX2WxU8m8NkT3ero8DAwrabDBX
21OgfR32VykhdCPQ+r/3cewefkf0qjBqibYhZyrGSe1sdqHn4V0+SyU/4ssSJkvg
QaR3QG5RuliwE/9IhcZ7f7iMPN67SwL3B9xsr562INJVJUiDJFuv+RxduIhJ2QyB
tRZ4YAbg8w==
Private-Lines: 8
AAAAgDUX1piGVr/T4Y6uq1LewQeE8k230qDKeF6vjS+h/x7gHGdOe1NLv7yR2rm7
x7VHnKTaaDFMAYMCxX+6oz6j9HxgKz79R5sA20iMNMWxH7x7ZfSODyilsJ//8wP/
mp7WGHBU53prESWkkSFUgBakrqhIy8Q+SuxNkNaUoIEtGK9pAAAAQQDlWQmEGSbe
dQsD8EFa2c6BEmBB8vSL/HFMdcyIqqmg2+6Yxrm1RdZoIggQS2TZnfHRqpUX3ENS
lVneaEAPiQW/AAAAQQDQiFZqeuFdOPBhb7wJDMzaidBggUKvyFb4ww8PEBelyqIn
JW7ElTRd64eSZ+MjA5vhs6msU06qdin59nPV6nnNAAAAQHTu5mVTBuk3dBKdRV/M
/b+kOfIbZz+jEQRovPIBtCrruFDyiil8PRmXfgbcFAjrssX1G8pSjFxx3is+55ls
1aA=
Private-MAC: 72ec920de5934d7c83d7cd1a1e244e727302d4e3
`

export const ED25519_PKCS8 = `-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINC/4PEqd/HVl3URfA9GXloFLQXIYBxztuCRFBBbWejy
-----END PRIVATE KEY-----
`

export const ED25519_PPK = `PuTTY-User-Key-File-2: ssh-ed25519
Encryption: none
Comment: web server
Public-Lines: 2
AAAAC3NzaC1lZDI1NTE5AAAAIEWlq+p/sq4F5HUlyUkhhJ26+fNzEvvkE8dWBZi+
nvew
Private-Lines: 1
AAAAINC/4PEqd/HVl3URfA9GXloFLQXIYBxztuCRFBBbWejy
Private-MAC: 4cabd691aced906b8329728482f4cb98321c3573
`
