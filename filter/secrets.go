package filter

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"postmend/dkim"
	"postmend/filter/domain"
	"postmend/reinject"
	"postmend/srs"
)

// NewRewriter makes the SRS rewriter of a configuration ready: it reads the secrets.
func NewRewriter(config *Config, now func() time.Time) (*srs.Rewriter, error) {
	secrets, err := readSecrets(config.SRS.SecretsFile)
	if err != nil {
		return nil, err
	}
	return newRewriter(config, secrets, now)
}

func newRewriter(config *Config, secrets [][]byte, now func() time.Time) (*srs.Rewriter, error) {
	options := config.SRS.options()
	options.Secrets, options.Now = secrets, now
	return srs.New(options)
}

// options are all but the secrets.
func (c *SRSConfig) options() srs.Options {
	return srs.Options{
		Domain:     domain.Canonical(c.Domain),
		Separator:  c.Separator[0],
		MaxAge:     time.Duration(c.MaxAge),
		HashLength: c.HashLength,
	}
}

// readSecrets reads one secret a line, from a file with the permissions of a DKIM key.
func readSecrets(path string) ([][]byte, error) {
	if path == "" {
		return nil, errors.New("[srs] has no secrets_file")
	}
	text, err := dkim.ReadPrivateFile(path)
	if err != nil {
		return nil, fmt.Errorf("srs: secrets_file: %w", err)
	}
	var secrets [][]byte
	for line := range bytes.Lines(text) {
		if secret := bytes.TrimSpace(line); len(secret) > 0 {
			secrets = append(secrets, secret)
		}
	}
	if len(secrets) == 0 {
		return nil, fmt.Errorf("srs: secrets_file: %s is empty", path)
	}
	return secrets, nil
}

// reading gives the function that reads the file of a setting, nil without one. Its error names the setting.
func reading[T any](setting, file string, read func(path string) (T, error)) func() (T, error) {
	if file == "" {
		return nil
	}
	return func() (T, error) {
		value, err := read(file)
		if err != nil {
			err = fmt.Errorf("%s: %w", setting, err)
		}
		return value, err
	}
}

func (c *ReinjectConfig) rootCAs() func() (*x509.CertPool, error) {
	return reading("reinject: ca_file", c.CAFile, readCAs)
}

func (c *ReinjectConfig) password() func() (string, error) {
	return reading("reinject: password_file", c.PasswordFile, readPassword)
}

func (c *SRSConfig) storePassword() func() (string, error) {
	return reading("srs: store_password_file", c.StorePasswordFile, readPassword)
}

func (c *SRSConfig) storeCAs() func() (*x509.CertPool, error) {
	return reading("srs: store_ca_file", c.StoreCAFile, readCAs)
}

// Check reads the files that a hand-over needs, password_file and ca_file. The error names the setting.
func (c *ReinjectConfig) Check() error {
	if read := c.password(); read != nil {
		if _, err := read(); err != nil {
			return err
		}
	}
	if read := c.rootCAs(); read != nil {
		if _, err := read(); err != nil {
			return err
		}
	}
	return nil
}

func readCAs(path string) (*x509.CertPool, error) {
	text, err := readBounded(path)
	if err != nil {
		return nil, err
	}
	pool, err := reinject.ParseCAs(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return pool, nil
}

const maxPassword = 1024 // octets

// readPassword reads a file with the permissions of a DKIM key.
func readPassword(path string) (string, error) {
	text, err := dkim.ReadPrivateFile(path)
	if err != nil {
		return "", err
	}
	password := strings.TrimRight(string(text), "\r\n")
	switch {
	case password == "":
		return "", fmt.Errorf("%s is empty", path)
	case len(text) > maxPassword:
		return "", fmt.Errorf("%s has more than %d octets", path, maxPassword)
	case strings.ContainsAny(password, "\x00\r\n"):
		return "", fmt.Errorf("%s must contain one line without a NUL", path)
	}
	return password, nil
}
