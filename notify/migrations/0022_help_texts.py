"""The texts that explain fields in the admin. No table changes."""


import django.db.models.deletion
import django.db.models.functions.datetime
import uuid
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('notify', '0021_in_force'),
    ]

    operations = [
        migrations.AlterField(
            model_name='app',
            name='created_at',
            field=models.DateTimeField(auto_now_add=True, help_text='When the app was added here.'),
        ),
        migrations.AlterField(
            model_name='app',
            name='enabled',
            field=models.BooleanField(default=True, help_text='Requests for a disabled app get 403. Its records stay.'),
        ),
        migrations.AlterField(
            model_name='app',
            name='id',
            field=models.UUIDField(default=uuid.uuid4, editable=False, help_text='SDKs send it with every call. It is no secret.', primary_key=True, serialize=False),
        ),
        migrations.AlterField(
            model_name='app',
            name='name',
            field=models.CharField(help_text='What pages, commands and alerts call the app.', max_length=100, unique=True),
        ),
        migrations.AlterField(
            model_name='app',
            name='nobody_names',
            field=models.TextField(blank=True, help_text='One name per line, in upper or lower case. A login with such a name is left out, and the answer has a warning, because all devices that send it would become one user. Delete a line if its name is a real user of this app, such as "0" or "1". Delete all lines to accept every name.', null=True, verbose_name="names that are nobody's"),
        ),
        migrations.AlterField(
            model_name='app',
            name='requests_per_s',
            field=models.PositiveIntegerField(blank=True, help_text='Requests above this rate get 429. Leave empty for the limit of all apps (NOTIFY_LIMIT_REQUESTS_PER_S). 0 means no limit.', null=True, verbose_name='requests a second'),
        ),
        migrations.AlterField(
            model_name='app',
            name='requires_identity',
            field=models.BooleanField(db_default=False, default=False, help_text="An SDK call that names a user, an email address or a phone number must carry a token that the app's server signed. Old SDKs (4.x) have no tokens, so such calls of theirs are refused."),
        ),
        migrations.AlterField(
            model_name='app',
            name='requires_key',
            field=models.BooleanField(default=False, help_text='Every call must carry a key. SDKs send none, so choose this only if all updates come from servers.'),
        ),
        migrations.AlterField(
            model_name='appkey',
            name='created_at',
            field=models.DateTimeField(auto_now_add=True, help_text='When the key was made. An app has at most two keys that are valid.'),
        ),
        migrations.AlterField(
            model_name='appkey',
            name='revoked_at',
            field=models.DateTimeField(blank=True, help_text='When the key stopped being valid. Empty: it is valid.', null=True),
        ),
        migrations.AlterField(
            model_name='deadletter',
            name='app',
            field=models.UUIDField(help_text='Empty if the message names no app.', null=True),
        ),
        migrations.AlterField(
            model_name='deadletter',
            name='at',
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), help_text='When the update became a dead letter.'),
        ),
        migrations.AlterField(
            model_name='deadletter',
            name='error',
            field=models.TextField(help_text='Why the update could not be applied.'),
        ),
        migrations.AlterField(
            model_name='deadletter',
            name='offset',
            field=models.BigIntegerField(help_text='The position of the message in its Kafka partition.'),
        ),
        migrations.AlterField(
            model_name='deadletter',
            name='record',
            field=models.UUIDField(help_text='The record that was not written. Empty if the message names none.', null=True),
        ),
        migrations.AlterField(
            model_name='identitykey',
            name='added_by',
            field=models.CharField(help_text='The user name of who added the key.', max_length=150),
        ),
        migrations.AlterField(
            model_name='identitykey',
            name='created_at',
            field=models.DateTimeField(auto_now_add=True, help_text='When the key was added. An app has at most two keys that are valid.'),
        ),
        migrations.AlterField(
            model_name='identitykey',
            name='revoked_at',
            field=models.DateTimeField(blank=True, help_text='Since when tokens that it verifies are refused. Empty: it is valid.', null=True),
        ),
        migrations.AlterField(
            model_name='linklimit',
            name='app',
            field=models.ForeignKey(blank=True, help_text='The app that the limit is for. Empty: all apps without a limit of their own.', null=True, on_delete=django.db.models.deletion.PROTECT, to='notify.app'),
        ),
        migrations.AlterField(
            model_name='linklimit',
            name='at',
            field=models.DateTimeField(auto_now_add=True, help_text='When this version was made.'),
        ),
        migrations.AlterField(
            model_name='linklimit',
            name='author',
            field=models.CharField(editable=False, help_text='The user name of who made this version.', max_length=150),
        ),
        migrations.AlterField(
            model_name='linklimit',
            name='children',
            field=models.PositiveBigIntegerField(blank=True, help_text="Records that may be linked to one record. Leave empty to remove the app's own limit: that of all apps then applies.", null=True),
        ),
        migrations.AlterField(
            model_name='linklimit',
            name='expires_at',
            field=models.DateTimeField(blank=True, help_text='When the rule or limit ends by itself. Leave empty for never.', null=True),
        ),
        migrations.AlterField(
            model_name='linklimit',
            name='label',
            field=models.CharField(choices=[('email', 'email'), ('sms', 'sms'), ('user', 'user'), ('alias', 'alias'), ('merged', 'merged')], help_text='The kind of link that is limited.', max_length=10),
        ),
        migrations.AlterField(
            model_name='linklimit',
            name='reason',
            field=models.TextField(help_text='Why you make this change. Colleagues read it here and in the audit trail.'),
        ),
        migrations.AlterField(
            model_name='replay',
            name='reason',
            field=models.TextField(help_text='Why the replay was ordered. Colleagues read it here and in the audit trail.'),
        ),
        migrations.AlterField(
            model_name='skipped',
            name='app',
            field=models.UUIDField(help_text='Empty if the messages name no app.', null=True),
        ),
        migrations.AlterField(
            model_name='skipped',
            name='at',
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), help_text='When they were decided.'),
        ),
        migrations.AlterField(
            model_name='skipped',
            name='bucket',
            field=models.DateTimeField(help_text='The start of the ten seconds in which they were refused. Empty for a skip rule.', null=True),
        ),
        migrations.AlterField(
            model_name='skipped',
            name='first',
            field=models.BigIntegerField(help_text='The offset of the first of these updates.'),
        ),
        migrations.AlterField(
            model_name='skipped',
            name='last',
            field=models.BigIntegerField(help_text='The offset of the last of these updates.'),
        ),
        migrations.AlterField(
            model_name='skipped',
            name='n',
            field=models.BigIntegerField(help_text='How many updates these are.'),
        ),
        migrations.AlterField(
            model_name='skipped',
            name='reason',
            field=models.TextField(help_text='Why the updates were not applied, or only in part.'),
        ),
        migrations.AlterField(
            model_name='skipped',
            name='record',
            field=models.UUIDField(help_text='Empty for records that are not listed, because there were too many.', null=True),
        ),
        migrations.AlterField(
            model_name='skipped',
            name='rule',
            field=models.BigIntegerField(help_text='The skip rule that dropped them. Empty for any other reason.', null=True),
        ),
        migrations.AlterField(
            model_name='skipped',
            name='stream',
            field=models.BigIntegerField(help_text="The number of the partition's stream."),
        ),
        migrations.AlterField(
            model_name='skiprule',
            name='active',
            field=models.BooleanField(default=True, help_text='Off lifts the rule: updates are applied again.'),
        ),
        migrations.AlterField(
            model_name='skiprule',
            name='app',
            field=models.ForeignKey(help_text='The app that the record belongs to.', on_delete=django.db.models.deletion.PROTECT, to='notify.app'),
        ),
        migrations.AlterField(
            model_name='skiprule',
            name='at',
            field=models.DateTimeField(auto_now_add=True, help_text='When this version was made.'),
        ),
        migrations.AlterField(
            model_name='skiprule',
            name='author',
            field=models.CharField(editable=False, help_text='The user name of who made this version.', max_length=150),
        ),
        migrations.AlterField(
            model_name='skiprule',
            name='expires_at',
            field=models.DateTimeField(blank=True, help_text='When the rule or limit ends by itself. Leave empty for never.', null=True),
        ),
        migrations.AlterField(
            model_name='skiprule',
            name='reason',
            field=models.TextField(help_text='Why you make this change. Colleagues read it here and in the audit trail.'),
        ),
        migrations.AlterField(
            model_name='skiprule',
            name='record',
            field=models.UUIDField(help_text='The id of the record whose updates are dropped.'),
        ),
        migrations.AlterField(
            model_name='skiprule',
            name='scope',
            field=models.CharField(choices=[('all', 'all its updates'), ('mirrored', 'mirrored updates only')], default='all', help_text='What is dropped: all updates, or only those that are mirrored from linked records.', max_length=10),
        ),
    ]
