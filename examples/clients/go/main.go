// What a token is worth, and every revocation as it happens.
package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"log"
	"os"
	"time"

	auth "example.com/auth-client/gen/auth/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Of calls that end: a watch has none.
const deadlines = `{"methodConfig": [{"timeout": "10s", "name": [
	{"service": "auth.v1.IntrospectionService", "method": "Introspect"}, {"service": "auth.v1.IntrospectionService", "method": "Authorize"}]}]}`

func show(message proto.Message, err error) {
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(protojson.MarshalOptions{EmitDefaultValues: true}.Format(message))
}

func main() {
	secret := base64.StdEncoding.EncodeToString([]byte(os.Getenv("AUTH_CLIENT_ID") + ":" + os.Getenv("AUTH_CLIENT_SECRET")))
	caller := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Basic "+secret)
	connection, err := grpc.NewClient(os.Getenv("AUTH_GRPC_ADDRESS"), grpc.WithDefaultServiceConfig(deadlines),
		grpc.WithTransportCredentials(insecure.NewCredentials())) // credentials.NewTLS(nil) where the listener has TLS
	if err != nil {
		log.Fatal(err)
	}
	client, token, resume := auth.NewIntrospectionServiceClient(connection), os.Getenv("TOKEN"), ""
	show(client.Introspect(caller, &auth.IntrospectRequest{Token: token}))
	show(client.Authorize(caller, &auth.AuthorizeRequest{Token: token, RequiredScopes: []string{"read"}}))
	for err = watch(caller, client, &resume); err != nil; err = watch(caller, client, &resume) {
		code := status.Code(err)
		if code == codes.Unauthenticated || code == codes.PermissionDenied || code == codes.InvalidArgument {
			log.Fatal(err)
		}
		log.Print("the stream broke, resuming: ", err)
		time.Sleep(time.Second)
	}
	show(client.Introspect(caller, &auth.IntrospectRequest{Token: token}))
}

// watch prints revocations until that of UNTIL_SID came (nil) or the stream broke; resume is where to continue.
func watch(caller context.Context, client auth.IntrospectionServiceClient, resume *string) error {
	ctx, cancel := context.WithCancel(caller)
	defer cancel()
	silence := time.AfterFunc(5*time.Second, cancel) // something comes at least every second
	stream, err := client.WatchRevocations(ctx, &auth.WatchRevocationsRequest{ResumeToken: *resume})
	for following := false; err == nil; {
		response, failure := stream.Recv()
		if failure != nil {
			return failure
		}
		silence.Reset(5 * time.Second)
		for _, revocation := range response.Revocations {
			show(revocation, nil)
			if revocation.Value == os.Getenv("UNTIL_SID") {
				return nil
			}
		}
		if *resume = response.ResumeToken; !following && !response.Snapshot {
			log.Print("following revocations")
			following = true
		}
	}
	return err
}
