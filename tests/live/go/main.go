// A caller in Go: requests a token over the daemon's socket, and prints the answers without the secrets.
//
//	go-client SOCKET NAME REFUSED
//
// It never prints the access token. NAME is permitted, REFUSED is not. The package clavigerv1 is generated from proto/
// when the rig is installed.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "claviger.test/live/clavigerv1"
)

// The README shows the three functions that follow, word for word.

func connect(socket string) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

func token(ctx context.Context, conn *grpc.ClientConn, name string) (*pb.GetTokenResponse, error) {
	ctx = metadata.AppendToOutgoingContext(ctx, "claviger-request", "true")
	return pb.NewTokensClient(conn).GetToken(ctx, &pb.GetTokenRequest{Name: name})
}

func refusal(err error) (reason, remedy string) {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.Domain == "claviger" {
			return info.Reason, info.Metadata["remedy"]
		}
	}
	return "", ""
}

// The first answer of WatchToken. The stream ends with the context.
func watched(ctx context.Context, conn *grpc.ClientConn, name string) (*pb.GetTokenResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "claviger-request", "true")
	stream, err := pb.NewTokensClient(conn).WatchToken(ctx, &pb.WatchTokenRequest{Name: name})
	if err != nil {
		return nil, err
	}
	return stream.Recv()
}

// The fields of a failure that may be printed.
func told(err error) map[string]string {
	reason, remedy := refusal(err)
	return map[string]string{"code": status.Code(err).String(), "reason": reason, "remedy": remedy}
}

func run(socket, name, refused string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := connect(socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	// Health checks need no header.
	health, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		return fmt.Errorf("the health check: %w", err)
	}
	answer, err := token(ctx, conn, name)
	if err != nil {
		return fmt.Errorf("GetToken: %w", err)
	}
	first, err := watched(ctx, conn, name)
	if err != nil {
		return fmt.Errorf("WatchToken: %w", err)
	}
	_, denied := token(ctx, conn, refused)
	_, unmeant := pb.NewTokensClient(conn).GetToken(ctx, &pb.GetTokenRequest{Name: name})
	if denied == nil || unmeant == nil {
		return errors.New("a request was answered that had to be refused")
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"health":      health.Status.String(),
		"length":      len(answer.AccessToken),
		"token_type":  answer.TokenType,
		"lifetime":    int64(answer.LifetimeLeft.AsDuration().Seconds()),
		"scopes":      answer.Scopes,
		"fingerprint": answer.Fingerprint,
		"watched":     first.Fingerprint,
		"denied":      told(denied),
		"unmeant":     told(unmeant),
	})
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: go-client SOCKET NAME REFUSED")
		os.Exit(64)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
