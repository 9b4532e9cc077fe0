// Package certs is what TLS needs of files: a server's certificate, which is
// taken up anew when it is renewed (Pair), the authorities that a client
// trusts (Trust), and plain words for what goes wrong between the two
// (Explain).
package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// fileLimit bounds a file of certificates, in bytes: the bundles of operating systems have about 250 KiB.
const fileLimit = 1 << 20

// readFile reads a whole plain file. Errors name it.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", path)
	}
	var f *os.File
	if err == nil {
		f, err = os.Open(path)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, withoutPath(err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, fileLimit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, withoutPath(err))
	case len(data) > fileLimit:
		return nil, fmt.Errorf("%s has more than %d bytes: want one with PEM certificates or a key", path, fileLimit)
	}
	return data, nil
}

func withoutPath(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// parseChain reads all certificates of a PEM text. Errors name the file it is from.
func parseChain(path string, text []byte) (chain []*x509.Certificate, err error) {
	key := false
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		key = key || strings.HasSuffix(block.Type, "PRIVATE KEY")
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: certificate %d cannot be read: %w", path, len(chain)+1, err)
		}
		chain = append(chain, c)
	}
	switch {
	case len(chain) == 0 && key:
		return nil, fmt.Errorf("%s holds a private key and no certificate", path)
	case len(chain) == 0:
		return nil, fmt.Errorf("%s holds no PEM certificate (-----BEGIN CERTIFICATE-----)", path)
	}
	return chain, nil
}

// checkKey looks for the private key in a PEM text, as far as its kind. Errors name the file it is from.
func checkKey(path string, text []byte) error {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case !strings.HasSuffix(block.Type, "PRIVATE KEY"):
		case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
			return fmt.Errorf("the key in %s is encrypted, and nobody could be asked for its password: openssl pkey -in %s writes it without", path, path)
		default:
			return nil
		}
	}
	if bytes.Contains(text, []byte("BEGIN CERTIFICATE")) {
		return fmt.Errorf("%s holds a certificate and no private key", path)
	}
	return fmt.Errorf("%s holds no PEM private key (-----BEGIN PRIVATE KEY-----)", path)
}

// join makes one certificate of two files' texts. Errors name the file to blame.
func join(certFile string, cert []byte, keyFile string, key []byte) (*tls.Certificate, error) {
	chain, err := parseChain(certFile, cert)
	if err == nil {
		err = checkKey(keyFile, key)
	}
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	switch {
	case err != nil && strings.Contains(err.Error(), "does not match"):
		return nil, fmt.Errorf("the key in %s does not fit the certificate in %s (with several there, the server's own comes first)", keyFile, certFile)
	case err != nil:
		return nil, fmt.Errorf("%s with %s: %w", certFile, keyFile, err)
	}
	pair.Leaf = chain[0]
	return &pair, nil
}
