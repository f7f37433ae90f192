// What a token is worth, and every revocation as it happens.
package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"log"
	"os"
	"slices"
	"time"

	auth "example.com/auth-client/gen/auth/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// basic authenticates every call. Answer true from RequireTransportSecurity where the connection has TLS.
type basic string

func (b basic) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": string(b)}, nil
}
func (basic) RequireTransportSecurity() bool { return false }

func soon() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	context.AfterFunc(ctx, cancel)
	return ctx
}

func show(message proto.Message, err error) {
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(protojson.MarshalOptions{EmitDefaultValues: true}.Format(message))
}

func main() {
	secret := []byte(os.Getenv("AUTH_CLIENT_ID") + ":" + os.Getenv("AUTH_CLIENT_SECRET"))
	connection, err := grpc.NewClient(os.Getenv("AUTH_GRPC_ADDRESS"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(basic("Basic "+base64.StdEncoding.EncodeToString(secret))))
	if err != nil {
		log.Fatal(err)
	}
	client, token, resume := auth.NewIntrospectionServiceClient(connection), os.Getenv("TOKEN"), ""
	show(client.Introspect(soon(), &auth.IntrospectRequest{Token: token}))
	show(client.Authorize(soon(), &auth.AuthorizeRequest{Token: token, RequiredScopes: []string{"read"}}))
	for err = watch(client, &resume); err != nil; err = watch(client, &resume) {
		if slices.Contains([]codes.Code{codes.Unauthenticated, codes.PermissionDenied, codes.InvalidArgument}, status.Code(err)) {
			log.Fatal(err)
		}
		log.Print("the stream broke, resuming: ", err)
		time.Sleep(time.Second)
	}
	show(client.Introspect(soon(), &auth.IntrospectRequest{Token: token}))
}

// watch prints revocations until that of UNTIL_SID came (nil) or the stream broke; resume is where to continue.
func watch(client auth.IntrospectionServiceClient, resume *string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	silence := time.AfterFunc(5*time.Second, cancel) // something comes at least every second
	stream, err := client.WatchRevocations(ctx, &auth.WatchRevocationsRequest{ResumeToken: *resume})
	if err != nil {
		return err
	}
	for following := false; ; {
		response, err := stream.Recv()
		if err != nil {
			return err
		}
		silence.Reset(5 * time.Second)
		for _, revocation := range response.Revocations {
			show(revocation, nil)
			if revocation.Value == os.Getenv("UNTIL_SID") {
				return nil
			}
		}
		if *resume = response.ResumeToken; !following && !response.Snapshot {
			following = true
			log.Print("following revocations")
		}
	}
}
