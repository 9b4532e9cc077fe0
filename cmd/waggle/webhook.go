package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"waggle/internal/bus"
	"waggle/internal/queue"
	"waggle/internal/webhook"
)

// secretVariable holds the secret of webhooks where no file does. There is no flag for it: others see a program's arguments.
const secretVariable = "WAGGLE_WEBHOOK_SECRET"

// secretLimit is the most bytes of a file with a secret.
const secretLimit = 4 << 10

// webhookFlags say who may be told of the end of a job.
type webhookFlags struct {
	WebhookHosts      []string `name:"webhook-host" placeholder:"HOST[:PORT]" help:"Host that may be told when a job has ended, if the job asks for it; repeatable."`
	WebhookSecretFile string   `name:"webhook-secret-file" type:"path" help:"File with the secret that signs what it is told (or WAGGLE_WEBHOOK_SECRET)."`
}

// open begins to send the webhooks of a queue that keeps ended jobs for a time and up to a number; nil where the operator
// has set no secret.
func (f *webhookFlags) open(ctx context.Context, b *bus.Bus, q queue.Queue, keep time.Duration, jobs int, log *slog.Logger) (*webhook.Sender, error) {
	hosts, err := webhook.ParseHosts(f.WebhookHosts)
	if err != nil {
		return nil, fmt.Errorf("--webhook-host %w", err)
	}
	secret, err := f.secret()
	if err != nil || secret == "" {
		return nil, err
	}
	return webhook.Open(ctx, b.JetStream, q, webhook.Options{
		Secret: []byte(secret), Hosts: hosts, Expiry: keep, Finished: jobs, Replicas: b.Replicas, Version: version, Log: log,
	})
}

// secret is empty where none is set.
func (f *webhookFlags) secret() (string, error) {
	secret, from := os.Getenv(secretVariable), secretVariable
	if f.WebhookSecretFile != "" {
		if secret != "" {
			return "", errors.New("--webhook-secret-file and " + secretVariable + " are both set: set one")
		}
		from = "--webhook-secret-file " + f.WebhookSecretFile
		data, err := readSecret(f.WebhookSecretFile)
		if err != nil {
			return "", fmt.Errorf("read --webhook-secret-file: %w", err)
		}
		secret = data
	} else if secret == "" {
		return "", nil
	}
	if len(secret) < webhook.SecretMin {
		return "", fmt.Errorf("%s: the secret has %d bytes, want at least %d: make one with openssl rand -hex 32", from, len(secret), webhook.SecretMin)
	}
	return secret, nil
}

// readSecret reads a small file without the line's end.
func readSecret(name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, secretLimit+1))
	if err == nil && len(data) > secretLimit {
		err = fmt.Errorf("%s has more than %d bytes", name, secretLimit)
	}
	return strings.TrimRight(string(data), "\r\n"), err
}
