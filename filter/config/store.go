package config

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"postmend/srs/store"
)

// checkStore checks what can be checked without touching the store.
func (s *SRS) checkStore() error {
	if s.Store == "" {
		if s.StoreUser != "" || s.StorePasswordFile != "" || s.StoreCAFile != "" {
			return errors.New("store_user, store_password_file or store_ca_file is set, but store is not")
		}
		return nil
	}
	if s.Domain == "" {
		return errors.New("store is set, but domain is not")
	}
	location, err := store.Parse(s.Store)
	switch {
	case err != nil:
		return fmt.Errorf("store: %w", err)
	case location.Dir != "" && (s.StoreUser != "" || s.StorePasswordFile != ""):
		return errors.New("store_user and store_password_file are for Valkey and Redis, but store is " +
			"a folder")
	case s.StoreUser != "" && s.StorePasswordFile == "":
		return errors.New("store_user is set, but store_password_file is not")
	case s.StoreCAFile != "" && !location.TLS:
		return errors.New("store_ca_file is for rediss://: with any other store, no certificate is verified")
	}
	return nil
}

// StoreOptions are those of the store of a configuration that has one.
func (s *SRS) StoreOptions(now func() time.Time) store.Options {
	return store.Options{
		URL:      s.Store,
		User:     s.StoreUser,
		Password: s.storePassword(),
		RootCAs:  s.storeCAs(),
		Timeout:  time.Duration(s.StoreTimeout),
		MaxAge:   time.Duration(s.MaxAge),
		Now:      now,
	}
}

func (s *SRS) storePassword() func() (string, error) {
	return reading("srs: store_password_file", s.StorePasswordFile, readPassword)
}

func (s *SRS) storeCAs() func() (*x509.CertPool, error) {
	return reading("srs: store_ca_file", s.StoreCAFile, readCAs)
}
