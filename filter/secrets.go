package filter

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"postmend/dkim"
	"postmend/srs"
)

// NewRewriter makes the SRS rewriter of a configuration ready: it reads the secrets.
func NewRewriter(config *Config, now func() time.Time) (*srs.Rewriter, error) {
	secrets, err := readSecrets(config.SRS.SecretsFile)
	if err != nil {
		return nil, err
	}
	options := config.SRS.options()
	options.Secrets, options.Now = secrets, now
	return srs.New(options)
}

// options are all but the secrets.
func (c *SRSConfig) options() srs.Options {
	return srs.Options{
		Domain:     canonicalDomain(c.Domain),
		Separator:  c.Separator[0],
		MaxAge:     time.Duration(c.MaxAge),
		HashLength: c.HashLength,
	}
}

// readSecrets reads one secret a line, of a file that is kept as a DKIM key has to be.
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
