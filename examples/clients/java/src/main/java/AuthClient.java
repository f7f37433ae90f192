import auth.v1.Introspection.AuthorizeRequest;
import auth.v1.Introspection.IntrospectRequest;
import auth.v1.Introspection.WatchRevocationsRequest;
import auth.v1.IntrospectionServiceGrpc;
import auth.v1.IntrospectionServiceGrpc.IntrospectionServiceBlockingStub;
import com.google.protobuf.MessageOrBuilder;
import com.google.protobuf.util.JsonFormat;
import io.grpc.Context;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.Status.Code;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.MetadataUtils;
import java.util.Base64;
import java.util.Set;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;

/** What a token is worth, and every revocation as it happens. */
public final class AuthClient {
  private static final Set<Code> HOPELESS = Set.of(Code.UNAUTHENTICATED, Code.PERMISSION_DENIED, Code.INVALID_ARGUMENT);
  private static String resumeToken = "";

  public static void main(String[] args) throws Exception {
    var env = System.getenv();
    var secret = env.get("AUTH_CLIENT_ID") + ":" + env.get("AUTH_CLIENT_SECRET");
    var headers = new Metadata();
    headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER),
        "Basic " + Base64.getEncoder().encodeToString(secret.getBytes("UTF-8")));
    // without usePlaintext() where the listener has TLS
    var channel = ManagedChannelBuilder.forTarget(env.get("AUTH_GRPC_ADDRESS")).usePlaintext().build();
    var service = IntrospectionServiceGrpc.newBlockingStub(channel)
        .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(headers));
    var token = IntrospectRequest.newBuilder().setToken(env.get("TOKEN")).build();
    show(service.withDeadlineAfter(10, TimeUnit.SECONDS).introspect(token));
    show(service.withDeadlineAfter(10, TimeUnit.SECONDS).authorize(
        AuthorizeRequest.newBuilder().setToken(env.get("TOKEN")).addRequiredScopes("read").build()));
    while (!watch(service, env.get("UNTIL_SID"))) Thread.sleep(1000);
    show(service.withDeadlineAfter(10, TimeUnit.SECONDS).introspect(token));
    System.exit(0);
  }

  /** Prints revocations until that of `sid` came (true) or the stream broke (false). */
  private static boolean watch(IntrospectionServiceBlockingStub service, String sid) throws Exception {
    var timer = Executors.newSingleThreadScheduledExecutor();
    var call = Context.current().withCancellation();
    var before = call.attach();
    try {
      var stream = service.watchRevocations(
          WatchRevocationsRequest.newBuilder().setResumeToken(resumeToken).build());
      for (var following = false; ; ) {
        // something comes at least every second
        var silence = timer.schedule(() -> call.cancel(new Exception("silence")), 5, TimeUnit.SECONDS);
        if (!stream.hasNext()) return false;
        silence.cancel(false);
        var response = stream.next();
        for (var revocation : response.getRevocationsList()) {
          show(revocation);
          if (revocation.getValue().equals(sid)) return true;
        }
        resumeToken = response.getResumeToken();
        if (!following && (following = !response.getSnapshot())) System.err.println("following revocations");
      }
    } catch (StatusRuntimeException error) {
      if (HOPELESS.contains(error.getStatus().getCode())) throw error;
      System.err.println("the stream broke, resuming: " + error.getStatus());
      return false;
    } finally {
      call.detach(before);
      call.cancel(null);
      timer.shutdownNow();
    }
  }

  private static void show(MessageOrBuilder message) throws Exception {
    System.out.println(
        JsonFormat.printer().omittingInsignificantWhitespace().alwaysPrintFieldsWithNoPresence().print(message));
  }
}
