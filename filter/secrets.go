package filter

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"

	"postmend/srs"
)

// NewRewriter makes the SRS rewriter of a configuration ready: it reads the secrets.
func NewRewriter(config *Config, now func() time.Time) (*srs.Rewriter, error) {
	secrets, err := readSecrets(config.SRS.SecretsFile)
	if err != nil {
		return nil, err
	}
	return srs.New(srs.Options{
		Domain:     canonicalDomain(config.SRS.Domain),
		Secrets:    secrets,
		Separator:  config.SRS.Separator[0],
		MaxAge:     time.Duration(config.SRS.MaxAge),
		HashLength: config.SRS.HashLength,
		Now:        now,
	})
}

// readSecrets reads one secret a line, and refuses a file that others may read.
func readSecrets(path string) ([][]byte, error) {
	if path == "" {
		return nil, errors.New("[srs] has no secrets_file")
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("srs: secrets_file: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("srs: secrets_file: others may use %s (mode %#o); mend it with: chmod o= %s", path, info.Mode().Perm(), path)
	}
	text, err := readBounded(path)
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
