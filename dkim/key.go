package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Key is a private key, and the place of its public key in DNS. Printed in any way, it shows only its name.
type Key struct {
	Domain   string // d=
	Selector string // s=
	private  crypto.Signer
}

// String names the key; it never shows it.
func (k Key) String() string { return k.RecordName() }

// Format implements fmt.Formatter: for every verb it writes what String gives. Otherwise some verbs would
// show an ed25519 key.
func (k Key) Format(w fmt.State, _ rune) { io.WriteString(w, k.String()) }

// ErrPassphrase is wrapped by the error about a key that is encrypted.
var ErrPassphrase = errors.New("it has a passphrase, which postmend cannot enter")

const (
	maxKeyFile = 64 << 10 // octets
	minRSABits = 1024     // RFC 8301 section 3.2
)

// LoadKey reads a private key: RSA or ed25519, PEM, PKCS#1 or PKCS#8. It refuses a file that accounts other
// than its owner and group may read, or that they may replace, because whoever has the key can sign as the
// domain. An error of the file system is wrapped.
func LoadKey(domain, selector, path string) (*Key, error) {
	key := &Key{Domain: domain, Selector: selector}
	if !isDomainName(domain) {
		return nil, fmt.Errorf("DKIM key %s: domain %q is not a domain name", path, domain)
	}
	if !isDomainName(selector) || !isDomainName(key.RecordName()) {
		return nil, fmt.Errorf("DKIM key %s: selector %q is not one or more labels of a domain name",
			path, selector)
	}
	text, err := ReadPrivateFile(path)
	if err != nil {
		return nil, fmt.Errorf("DKIM key: %w", err)
	}
	if key.private, err = parsePrivate(text, path); err != nil {
		return nil, fmt.Errorf("DKIM key %s: %w", path, err)
	}
	return key, nil
}

// isDomainName takes labels of letters, digits, hyphens and underscores.
func isDomainName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			return false
		}
	}
	return true
}

// ReadPrivateFile reads a secret: a regular file of at most 64 KiB that only its owner may write, and only
// owner and group may read, in folders that other accounts may not write to.
func ReadPrivateFile(path string) ([]byte, error) {
	// Without O_NONBLOCK, opening a named pipe would block.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	mode := info.Mode()
	switch {
	case !mode.IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case mode.Perm()&0o027 != 0:
		return nil, fmt.Errorf("%s is open to other accounts (mode %#o); run: chmod g-w,o= %[1]s",
			path, mode.Perm())
	case info.Size() > maxKeyFile:
		return nil, fmt.Errorf("%s is too large for a secret (%d octets, at most %d)",
			path, info.Size(), maxKeyFile)
	}
	if err := checkFolders(path); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(file, maxKeyFile))
}

// checkFolders refuses a file that others may replace: its folder, and the folder of a link to it, must not
// be writable for them. A sticky bit does not help before the file exists.
func checkFolders(path string) error {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	for _, folder := range []string{filepath.Dir(path), filepath.Dir(target)} {
		info, err := os.Stat(folder)
		if err != nil {
			return err
		}
		if mode := info.Mode().Perm(); mode&0o002 != 0 {
			return fmt.Errorf("other accounts can replace %s, because its folder is writable for them "+
				"(mode %#o); move it to a folder of its own, or run: chmod o-w %s",
				path, mode, folder)
		}
	}
	return nil
}

// parsePrivate reads the first PEM block. Its errors quote nothing of the file but the type of that block.
func parsePrivate(text []byte, path string) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("it contains no PEM block; make a key with: postmend dkim genkey")
	}
	var key any
	var err error
	switch {
	case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
		return nil, fmt.Errorf("%w; remove it with: openssl pkey -in %s -out NEW", ErrPassphrase, path)
	case block.Type == "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case block.Type == "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case strings.HasSuffix(block.Type, "PRIVATE KEY"):
		return nil, fmt.Errorf("it contains %.40q; only RSA and ed25519 keys, in PKCS#1 or PKCS#8, can "+
			"sign mail", block.Type)
	default:
		return nil, fmt.Errorf("it contains %.40q, not a private key", block.Type)
	}
	if err != nil {
		return nil, errors.New("its private key is damaged") // the cause could quote from it
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if bits := key.N.BitLen(); bits < minRSABits {
			return nil, fmt.Errorf("it is an RSA key of %d bits, which verifiers reject (RFC 8301 "+
				"section 3.2); make one of 2048 bits with: postmend dkim genkey", bits)
		}
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	}
	return nil, errors.New("only RSA and ed25519 keys can sign mail; make one with: postmend dkim genkey")
}

// GenerateKey makes a private key in PEM, PKCS#8. Algorithm is "rsa2048", "rsa4096" or "ed25519"; "" means
// rsa2048. Many receivers do not know ed25519 (RFC 8463) and ignore such signatures: use it in addition to
// an RSA key.
func GenerateKey(algorithm string) ([]byte, error) {
	var key crypto.Signer
	var err error
	switch algorithm {
	case "", "rsa2048":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "rsa4096":
		key, err = rsa.GenerateKey(rand.Reader, 4096)
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, fmt.Errorf("unknown key type %q; known are rsa2048, rsa4096 and ed25519", algorithm)
	}
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// RecordName is where the public key is published.
func (k *Key) RecordName() string { return k.Selector + "._domainkey." + k.Domain }

// Record is the text of the TXT record that publishes the public key (RFC 6376 section 3.6.1, RFC 8463
// section 4).
func (k *Key) Record() (string, error) {
	if public, ok := k.private.Public().(ed25519.PublicKey); ok {
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public), nil
	}
	der, err := x509.MarshalPKIXPublicKey(k.private.Public())
	if err != nil {
		return "", err
	}
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der), nil
}

// ZoneRecord is the TXT record as a line of a zone file, cut into strings of at most 255 octets (RFC 1035
// section 3.3).
func (k *Key) ZoneRecord() (string, error) {
	text, err := k.Record()
	if err != nil {
		return "", err
	}
	line := k.RecordName() + ". IN TXT"
	for len(text) > 0 {
		n := min(len(text), 255)
		line += ` "` + text[:n] + `"`
		text = text[n:]
	}
	return line, nil
}
