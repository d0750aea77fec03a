package config

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

// Rewriter makes the SRS rewriter ready: it reads the secrets.
func (s *SRS) Rewriter(now func() time.Time) (*srs.Rewriter, error) {
	secrets, err := s.Secrets()
	if err != nil {
		return nil, err
	}
	return s.RewriterWith(secrets, now)
}

// RewriterWith is Rewriter for secrets that have been read.
func (s *SRS) RewriterWith(secrets [][]byte, now func() time.Time) (*srs.Rewriter, error) {
	options := s.options()
	options.Secrets, options.Now = secrets, now
	return srs.New(options)
}

// options are all but the secrets.
func (s *SRS) options() srs.Options {
	return srs.Options{
		Domain:     domain.Canonical(s.Domain),
		Separator:  s.Separator[0],
		MaxAge:     time.Duration(s.MaxAge),
		HashLength: s.HashLength,
	}
}

// Secrets reads one secret a line, from a file with the permissions of a DKIM key.
func (s *SRS) Secrets() ([][]byte, error) {
	if s.SecretsFile == "" {
		return nil, errors.New("[srs] has no secrets_file")
	}
	text, err := dkim.ReadPrivateFile(s.SecretsFile)
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
		return nil, fmt.Errorf("srs: secrets_file: %s is empty", s.SecretsFile)
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

// RootCAs gives the function that reads ca_file; nil without one.
func (c *Reinject) RootCAs() func() (*x509.CertPool, error) {
	return reading("reinject: ca_file", c.CAFile, readCAs)
}

// Password gives the function that reads password_file; nil without one.
func (c *Reinject) Password() func() (string, error) {
	return reading("reinject: password_file", c.PasswordFile, readPassword)
}

// Check reads the files that a hand-over needs, password_file and ca_file. The error names the setting.
func (c *Reinject) Check() error {
	if read := c.Password(); read != nil {
		if _, err := read(); err != nil {
			return err
		}
	}
	if read := c.RootCAs(); read != nil {
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
